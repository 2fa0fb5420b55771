// Package network is how a container reaches others, and is reached. A kind of network
// is an implementation of [Network]; what it depends on is in it and nowhere else.
package network

import (
	"io"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
)

// Network is a kind of network.
type Network interface {
	// Own reports whether the container has a network namespace of its own.
	Own() bool
	// Attach connects that namespace. It is called while init, which pid is, is parked
	// in the namespace. Closing the result undoes what does not go with the namespace; it
	// is nil when there is nothing to undo.
	Attach(pid int) (io.Closer, error)
	// Files returns the content of /etc/hosts and /etc/resolv.conf. nil is an empty file.
	Files() (hosts, resolv []byte, err error)
}

// Named returns the network that --network names.
func Named(name config.Network) Network {
	if name == config.NetworkHost {
		return Host{}
	}
	return None{}
}

// Of returns the network of a spec from nothing but its namespaces: [None] if the
// container has a network namespace of its own, and [Host] otherwise.
func Of(spec *specs.Spec) Network {
	if spec.Linux != nil && slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace }) {
		return None{}
	}
	return Host{}
}

// None is a loopback device and nothing else.
type None struct{}

// Own reports true.
func (None) Own() bool { return true }

// Attach does nothing: libcontainer brings the loopback device up.
func (None) Attach(int) (io.Closer, error) { return nil, nil }

// Files returns the addresses of the loopback device, and the host's resolv.conf, as
// Docker does.
func (None) Files() (hosts, resolv []byte, err error) {
	resolv, err = resolvConf()
	return []byte(loopback), resolv, err
}

const loopback = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n" +
	"ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

// Host is the host's network namespace.
type Host struct{}

// Own reports false.
func (Host) Own() bool { return false }

// Attach does nothing.
func (Host) Attach(int) (io.Closer, error) { return nil, nil }

// Files returns the host's own, and the addresses of the loopback device where the host
// has no hosts file.
func (Host) Files() (hosts, resolv []byte, err error) {
	if resolv, err = resolvConf(); err != nil {
		return nil, nil, err
	}
	if hosts, err = os.ReadFile("/etc/hosts"); err != nil {
		hosts = []byte(loopback)
	}
	return hosts, resolv, nil
}

func resolvConf() ([]byte, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return nil, nil
	}
	return data, err
}
