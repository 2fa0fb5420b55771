// Package network is how a container reaches others, and is reached.
//
// A [Network] says what a launch asks for. Its [Connection] lives as long as the
// container: it is opened before init is started, and attached when init is parked.
package network

import (
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
)

// Network is the network that a container is to have.
type Network struct {
	Kind      config.Network
	Published []config.Publication
	Names     config.Names
	Address   netip.Addr       // on the bridge; the zero Addr is any
	MAC       net.HardwareAddr // nil is one made of the address
	Shared    *Shared          // of another container's; nil is a network of the container's own
	Namespace *os.File         // the one to use if [Network.NeedsNamespace]; nil: a new one is made
	Prepared  *Prepared        // nil: the namespace is made when the network is opened
}

// Shared is the network of another container.
type Shared struct {
	Namespace     *os.File // becomes the connection's
	Hosts, Resolv []byte   // of that container
}

// New returns the network of the flags of a launch, which come from [spec.Merge].
func New(c *config.Config) *Network {
	n := &Network{Kind: c.Network, Names: c.Names, Address: c.IP, MAC: c.MAC}
	if !n.Kind.Own() {
		return n // the container's ports are the host's
	}
	n.Published = c.Published
	if c.PublishAll {
		n.Published = slices.Concat(n.Published, unpublished(c))
	}
	return n
}

// NeedsNamespace reports whether the namespace is made before init is started, and not by
// init.
func (n *Network) NeedsNamespace() bool {
	return n.connected() || n.Kind == config.NetworkNone && len(n.Published) > 0
}

// connected reports whether the container has a network of its own that leads to the world.
func (n *Network) connected() bool {
	return n.Kind != config.NetworkHost && n.Kind != config.NetworkNone && n.Kind.Container() == ""
}

// unpublished returns what --publish-all adds: the exposed ports that no --publish names,
// each at any port of the host's.
func unpublished(c *config.Config) []config.Publication {
	var all []config.Publication
	published := map[config.Port]bool{}
	for _, p := range c.Published {
		published[p.Port] = true
	}
	for _, port := range c.Exposed {
		if !published[port] {
			published[port] = true
			all = append(all, config.Publication{Flag: "--publish-all", Port: port})
		}
	}
	return all
}

// Of returns the network of a spec from nothing but its namespaces: none if the container
// has a network namespace of its own, and the host's otherwise.
func Of(spec *specs.Spec) *Network {
	if spec.Linux != nil && slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace }) {
		return &Network{Kind: config.NetworkNone}
	}
	return &Network{Kind: config.NetworkHost}
}
