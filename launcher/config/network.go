package config

import (
	"net"
	"net/netip"
	"strings"
)

// Network is what --network names.
type Network string

const (
	NetworkNone   Network = "none"   // a loopback device only
	NetworkHost   Network = "host"   // the host's network namespace
	NetworkBridge Network = "bridge" // a device on a bridge that all such containers share; without root, as the next. The default

	NetworkSlirp Network = "slirp4netns" // in user mode, by the program of that name
	NetworkPasta Network = "pasta"
)

// Networks lists the values of --network.
func Networks() []string {
	return []string{string(NetworkNone), string(NetworkHost), string(NetworkBridge), string(NetworkSlirp), string(NetworkPasta)}
}

// networkOf is the prefix of a network that is another container's.
const networkOf = "container:"

// Container returns the name of the container whose network it is, or "".
func (n Network) Container() string {
	name, ok := strings.CutPrefix(string(n), networkOf)
	if !ok {
		return ""
	}
	return name
}

// Own reports whether the container has a network namespace that is not the host's.
func (n Network) Own() bool { return n != NetworkHost }

// network reads --network, --ip and --mac-address.
func (p *flagParser) network() (err error) {
	c := p.c
	if text := p.value("network"); Network(text).Container() != "" {
		return p.sharedNetwork(text)
	}
	if c.Network, err = choose(p, "network", "network", NetworkBridge, append(Networks(), networkOf+"NAME")); err != nil {
		return err
	}
	if all := p.list("network"); len(all) > 1 {
		return refuse("network", all[1], "give --network once", "a container has one network")
	}
	if text := p.value("ip"); text != "" {
		if c.IP, err = netip.ParseAddr(text); err != nil || !c.IP.Is4() {
			return refuse("ip", text, "write an address, for example 10.96.0.2", "not an IPv4 address")
		}
	}
	if text := p.value("mac-address"); text != "" {
		if c.MAC, err = net.ParseMAC(text); err != nil || len(c.MAC) != 6 || c.MAC[0]&1 != 0 {
			return refuse("mac-address", text, "write for example 02:42:0a:60:00:02", "not a MAC address of one device")
		}
	}
	for _, flag := range []string{"ip", "mac-address"} {
		if text := p.value(flag); text != "" && c.Network != NetworkBridge {
			return refuse(flag, text, "give --network bridge, or leave it out", "with --network %s the container has no such device", c.Network)
		}
	}
	return nil
}

// sharedNetwork reads --network container:NAME. As with Docker, what belongs to a network is
// the other container's.
func (p *flagParser) sharedNetwork(text string) error {
	p.c.Network = Network(text)
	if !isName(p.c.Network.Container()) {
		return refuse("network", text, "write container:NAME", "invalid container name")
	}
	if users := p.value("userns"); users != "" && users != "host" {
		return refuse("network", text, "leave out one of the two", "with --userns %s a container has a network of its own", users)
	}
	for _, flag := range []string{"hostname", "publish", "publish-all", "expose", "dns", "dns-search", "dns-option", "add-host", "ip", "mac-address"} {
		if value := p.value(flag); value != "" && value != "false" {
			return refuse("network", text, "leave out one of the two", "--%s is the other container's", flag)
		}
	}
	return nil
}
