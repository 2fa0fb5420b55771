package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
)

// Connection is the network of one container. It is for one goroutine.
type Connection struct {
	network   *Network
	namespace *namespace // nil where init makes its own, or is in the host's
	resolv    []byte
	relayed   []netip.Addr // servers that the container asks by way of the relay
	guessed   bool         // no server was named, so one was looked for
	published []*published
	sockets   *sockets
	forwarder *forwarder

	relay  *relay
	helper *helper // of a network in user mode, or nil

	connected chan error // gets one value when link is set, or cannot be
	link      link
}

// link is how a namespace is connected with the world.
type link struct {
	address  netip.Addr // the container's, or the zero Addr
	address6 netip.Addr
	gateway  netip.Addr // at which it reaches the host, or the zero Addr
	device   Device     // of a network with a bridge
	warnings []error
}

// localhost is an address of every namespace.
func localhost() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// Guard makes sure that a process is killed when this one ends, in whatever way. stop ends
// that.
type Guard func(pidfd *os.File) (stop func(), err error)

// Open makes what the network needs before init is started, and listens at the published
// ports, so that a port that is taken is an error before anything runs. The namespace is
// connected in another goroutine, which [Connection.Attach] waits for. The caller closes
// the connection.
//
// The calling thread must live as long as the container: the program that connects a
// namespace in user mode ends with it.
func (n *Network) Open(guard Guard) (*Connection, error) {
	c := &Connection{network: n}
	if err := c.open(guard); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Connection) open(guard Guard) (err error) {
	n := c.network
	if n.Shared != nil {
		c.namespace, c.resolv = &namespace{file: n.Shared.Namespace}, n.Shared.Resolv
		return nil
	}
	if n.Kind == config.NetworkNone {
		if _, err := n.hostLines(netip.Addr{}); err != nil {
			return err
		}
	}
	if c.resolv, c.relayed, err = n.resolv(func() bool { c.guessed = true; return localServer() }); err != nil {
		return err
	}
	for _, pub := range n.Published {
		p, err := listen(pub)
		if err != nil {
			return err
		}
		c.published = append(c.published, p)
	}
	switch n.Kind {
	case config.NetworkHost:
		c.link.gateway = localhost()
		return nil
	case config.NetworkNone:
		if n.NeedsNamespace() {
			c.namespace, err = n.ownNamespace()
		}
		return err
	}
	return n.failed(c.connect(guard))
}

// connect makes the namespace, and begins to connect it.
func (c *Connection) connect(guard Guard) (err error) {
	n := c.network
	if c.namespace, err = n.ownNamespace(); err != nil {
		return err
	}
	way := c.plug
	if n.Kind != config.NetworkBridge || !ownsNetwork() {
		program, path, err := userMode(n.Kind)
		if err != nil {
			return err
		}
		if c.helper, err = startHelper(program, path, c.namespace.file, guard); err != nil {
			return err
		}
		way = c.join
	}
	c.connected = make(chan error, 1)
	go func() {
		err := way()
		c.connected <- err
	}()
	return nil
}

// join waits for the helper.
func (c *Connection) join() (err error) {
	c.link.address, err = c.helper.wait(c.namespace)
	c.link.gateway = hostAddressOut()
	return err
}

// plug connects the namespace with the bridge.
func (c *Connection) plug() error {
	b, err := openBridge()
	if err != nil {
		return err
	}
	defer b.close()
	warning, err := b.firewall()
	if err != nil {
		return err
	}
	if warning != nil {
		c.link.warnings = append(c.link.warnings, warning)
	}
	address, err := b.plug(c.namespace, wanted{c.network.Address, c.network.MAC})
	if err != nil {
		return err
	}
	c.link.address, c.link.gateway = address, b.v4.Addr()
	if b.v6.IsValid() {
		c.link.address6 = b.sixth(address)
	}
	c.link.device = Device{MAC: hardwareAddressOf(address, c.network.MAC).String(), PrefixLen: b.v4.Bits()}
	if b.v6.IsValid() {
		c.link.device.Gateway6, c.link.device.PrefixLen6 = b.v6.Addr(), b.v6.Bits()
	}
	return nil
}

// wait waits until the namespace is connected.
func (c *Connection) wait() error {
	if c.connected == nil {
		return nil
	}
	err := <-c.connected
	c.connected = nil
	return c.network.failed(err)
}

// failed names the flag that an error is about.
func (n *Network) failed(err error) error {
	var refused *config.Error
	if err == nil || errors.As(err, &refused) {
		return err
	}
	help := hint.Text(err)
	if help == "" && n.Kind == config.NetworkBridge && ownsNetwork() {
		help = lacks(err)
	}
	return hint.With(&config.Error{Op: "--network " + string(n.Kind), Err: err}, help)
}

// lacks returns a hint for an error of the bridge.
func lacks(err error) string {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return "sudo modprobe bridge veth, or --network none"
	case errors.Is(err, fs.ErrPermission):
		return "it needs CAP_NET_ADMIN; --network host does without"
	case errors.Is(err, unix.EROFS):
		return "it needs a /proc/sys that can be written to; --network none does without"
	}
	return ""
}

// Namespace returns the network namespace that init has to join, or nil if it makes its
// own or stays in this process's. It belongs to the connection.
func (c *Connection) Namespace() *os.File {
	if c.namespace == nil {
		return nil
	}
	return c.namespace.file
}

// Files returns the contents with which /etc/hosts and /etc/resolv.conf start.
func (c *Connection) Files() (hosts, resolv []byte) { return c.network.hosts(), c.resolv }

// Attach waits until the namespace is connected, and begins to pass on what reaches the
// published ports. It returns what is to be added to /etc/hosts, for a container of these
// names, and warnings.
func (c *Connection) Attach(hostname, domainname string) (hosts string, warnings []error, err error) {
	if err := c.wait(); err != nil {
		return "", nil, err
	}
	if hosts, err = c.network.hostLines(c.link.gateway); err != nil {
		return "", nil, err
	}
	hosts += c.link.hostLines(hostname, domainname)
	if len(c.relayed) > 0 {
		if c.relay, err = startRelay(c.namespace.file, c.relayed); err != nil {
			return "", nil, err
		}
	}
	return hosts, c.link.warnings, c.forward()
}

// forward begins to pass on what reaches the published ports.
func (c *Connection) forward() (err error) {
	if len(c.published) == 0 {
		return nil
	}
	if c.sockets, err = socketsIn(c.namespace.file); err != nil {
		return err
	}
	to := localhost()
	if c.link.address.IsValid() {
		to = c.link.address // so that what trusts 127.0.0.1 does not trust the world (CVE-2021-20199)
	}
	c.forwarder = newForwarder(c.sockets, to)
	for _, p := range c.published {
		c.forwarder.serve(p)
	}
	return nil
}

// Lasting reports whether this process has to run as long as the container does, to keep
// the connection. A nil connection needs nothing.
func (c *Connection) Lasting() bool {
	return c != nil && (len(c.published) > 0 || len(c.relayed) > 0 || c.helper != nil)
}

// Guessed reports whether it was found out by asking what name server there is. A nil
// connection has none.
func (c *Connection) Guessed() bool { return c != nil && c.guessed }

// hostLines returns the lines of /etc/hosts with the container's own addresses.
func (l *link) hostLines(hostname, domainname string) string {
	names := hostname
	if domainname != "" {
		names = hostname + "." + domainname + " " + hostname
	}
	var b strings.Builder
	for _, a := range []netip.Addr{l.address, l.address6} {
		if a.IsValid() && hostname != "" {
			fmt.Fprintf(&b, "%s\t%s\n", a, names)
		}
	}
	return b.String()
}

// Chosen returns texts about the published ports for which a flag allowed several ports of
// the host: each says which one it is.
func (c *Connection) Chosen() []string {
	var all []string
	for _, p := range c.published {
		if p.First != p.Last || p.First == 0 {
			all = append(all, fmt.Sprintf("%s is published at port %d", p.Port, p.port))
		}
	}
	return all
}

// Ports lists the published ports as Docker does, a text each: where the host listens, and
// the container's port. A nil connection has none.
func (c *Connection) Ports() []string {
	var all []string
	if c == nil {
		return all
	}
	for _, p := range c.published {
		for _, l := range p.tcp {
			all = append(all, fmt.Sprintf("%s->%s", l.Addr(), p.Port))
		}
		for _, l := range p.udp {
			all = append(all, fmt.Sprintf("%s->%s", l.LocalAddr(), p.Port))
		}
	}
	return all
}

// Device describes a container's network device. A field is zero if the device does not
// have it, or if only the program that connects it in user mode knows it.
type Device struct {
	Address    netip.Addr `json:"address,omitzero"`
	Address6   netip.Addr `json:"address6,omitzero"`
	PrefixLen  int        `json:"prefixLen,omitempty"`
	PrefixLen6 int        `json:"prefixLen6,omitempty"`
	Gateway    netip.Addr `json:"gateway,omitzero"`
	Gateway6   netip.Addr `json:"gateway6,omitzero"`
	MAC        string     `json:"mac,omitempty"`
}

// Settled reports whether Ports and Device are final: no device is being connected. A nil
// connection is settled.
func (c *Connection) Settled() bool { return c == nil || c.connected == nil }

// Device describes the container's device, once the connection is attached. A nil
// connection has none.
func (c *Connection) Device() Device {
	if c == nil || !c.link.address.IsValid() {
		return Device{}
	}
	d := c.link.device
	d.Address, d.Address6, d.Gateway = c.link.address, c.link.address6, c.link.gateway
	return d
}

// Close ends the connection. What the container had sent to clients is passed on first,
// for up to a second. The namespace goes when the container's last process has ended.
func (c *Connection) Close() error {
	for _, p := range c.published {
		p.close()
	}
	if c.forwarder != nil {
		c.forwarder.close()
		c.sockets.close()
		c.forwarder = nil
	}
	if c.relay != nil {
		c.relay.close()
		c.relay = nil
	}
	if c.helper != nil {
		c.helper.close()
		c.helper = nil
	}
	_ = c.wait()
	c.namespace.close()
	c.namespace = nil
	return nil
}
