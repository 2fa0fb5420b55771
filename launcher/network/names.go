package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minirun/minirun/launcher/config"
)

const loopback = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n" +
	"ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

// resolvConf is a resolv.conf(5).
type resolvConf struct {
	servers         []netip.Addr
	search, options []string
}

// parseResolvConf reads a resolv.conf. As the resolver does, it passes over what it does
// not know. The last search or domain counts.
func parseResolvConf(text string) resolvConf {
	var c resolvConf
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if address, err := netip.ParseAddr(f[1]); err == nil {
				c.servers = append(c.servers, address)
			}
		case "search", "domain":
			c.search = f[1:]
		case "options":
			c.options = append(c.options, f[1:]...)
		}
	}
	return c
}

func (c resolvConf) String() string {
	var b strings.Builder
	for _, s := range c.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(c.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.search, " "))
	}
	if len(c.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(c.options, " "))
	}
	return b.String()
}

// withFlags replaces what --dns and its like name.
func (c resolvConf) withFlags(names config.Names) resolvConf {
	if len(names.Servers) > 0 {
		c.servers = names.Servers
	}
	if names.Search != nil {
		c.search = names.Search
		if len(c.search) == 1 && c.search[0] == "." {
			c.search = nil
		}
	}
	if names.Options != nil {
		c.options = names.Options
	}
	return c
}

// The host's files. systemd-resolved keeps the servers that it asks itself in the second.
const (
	hostResolvConf    = "/etc/resolv.conf"
	resolvedsServers  = "/run/systemd/resolve/resolv.conf"
	resolvedsLoopback = "127.0.0.53"
)

// NameServerFiles are the host's files that a container's resolv.conf depends on.
func NameServerFiles() []string {
	text, _ := readIfThere(hostResolvConf) // an error is one later too
	if own := parseResolvConf(string(text)); own.onlyResolved() {
		return []string{hostResolvConf, resolvedsServers}
	}
	return []string{hostResolvConf}
}

// resolv returns the container's resolv.conf, and the servers that are asked by the relay
// because the container reaches none. local reports whether a server listens at the
// loopback device.
func (n *Network) resolv(local func() bool) (text []byte, relayed []netip.Addr, err error) {
	if text, err = readIfThere(hostResolvConf); err != nil {
		return nil, nil, err
	}
	if !n.connected() {
		text, _ = n.resolvOf(text, nil, local)
		return text, nil, nil
	}
	resolved, err := readIfThere(resolvedsServers)
	if err != nil {
		return nil, nil, err
	}
	text, relayed = n.resolvOf(text, resolved, local)
	return text, relayed, nil
}

// resolvOf makes the container's resolv.conf from the host's and systemd-resolved's. It is
// the host's, unchanged, if no flag asks for something else and the container reaches the
// servers. local reports whether a server listens at the loopback device.
func (n *Network) resolvOf(text, resolved []byte, local func() bool) (result []byte, relayed []netip.Addr) {
	own := parseResolvConf(string(text))
	if own.onlyResolved() {
		if c := parseResolvConf(string(resolved)); len(c.reached()) > 0 {
			text, own = resolved, c
		}
	}
	c := own.withFlags(n.Names)
	if n.connected() && len(n.Names.Servers) == 0 {
		c.servers = own.reached()
		if len(c.servers) == 0 {
			relayed = own.servers
			if len(relayed) == 0 && local() {
				relayed = []netip.Addr{localhost()} // the resolver's default: resolv.conf(5)
			}
			if len(relayed) > 0 {
				c.servers = []netip.Addr{relayAddress()}
			}
		}
	}
	if n.Names.Search == nil && n.Names.Options == nil && slices.Equal(c.servers, own.servers) {
		return text, nil
	}
	return []byte(c.String()), relayed
}

// localServer reports whether a name server listens at the loopback device, by TCP too (RFC
// 7766).
func localServer() bool {
	conn, err := net.DialTimeout("tcp4", netip.AddrPortFrom(localhost(), 53).String(), 100*time.Millisecond)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// onlyResolved reports whether the only server is that of systemd-resolved.
func (c resolvConf) onlyResolved() bool {
	return len(c.servers) == 1 && c.servers[0].String() == resolvedsLoopback
}

// reached returns the servers that other machines can reach by these addresses.
func (c resolvConf) reached() (all []netip.Addr) {
	for _, s := range c.servers {
		if !s.IsLoopback() && !s.IsLinkLocalUnicast() && !s.IsUnspecified() {
			all = append(all, s)
		}
	}
	return all
}

func readIfThere(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// hosts returns the beginning of the container's /etc/hosts. It is the host's file in the
// host's network, the other container's in a shared one, and else has the loopback
// addresses.
func (n *Network) hosts() []byte {
	if n.Shared != nil {
		return n.Shared.Hosts
	}
	if !n.Kind.Own() {
		if own, err := os.ReadFile("/etc/hosts"); err == nil {
			return own
		}
	}
	return []byte(loopback)
}

// hostLines returns the lines that flags add to /etc/hosts. gateway is where the container
// reaches the host.
func (n *Network) hostLines(gateway netip.Addr) (string, error) {
	var b strings.Builder
	for _, h := range n.Names.Hosts {
		if !h.Address.IsValid() {
			h.Address = gateway
		}
		if !h.Address.IsValid() {
			return "", &config.Error{Op: "--add-host " + h.Name + ":host-gateway", Err: fmt.Errorf("with --network %s the container does not reach the host", n.Kind)}
		}
		fmt.Fprintf(&b, "%s\t%s\n", h.Address, h.Name)
	}
	return b.String(), nil
}
