package network

import (
	"fmt"
	"net/netip"
	"os"
)

// Connection is the network of one container. It is for one goroutine.
type Connection struct {
	network   *Network
	namespace *os.File // nil where init makes its own, or is in the host's
	hosts     string   // what flags add to /etc/hosts
	resolv    []byte
	published []*published
	sockets   *sockets
	forwarder *forwarder
}

// Open makes what the network needs before init is started, and listens at the published
// ports: one that is taken is found out before anything runs. The caller closes the
// connection.
func (n *Network) Open() (*Connection, error) {
	c := &Connection{network: n}
	if err := c.open(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Connection) open() (err error) {
	if c.resolv, err = c.network.resolv(); err != nil {
		return err
	}
	var gateway netip.Addr
	if !c.network.Kind.Own() {
		gateway = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if c.hosts, err = c.network.hostLines(gateway); err != nil {
		return err
	}
	for _, pub := range c.network.Published {
		p, err := listen(pub)
		if err != nil {
			return err
		}
		c.published = append(c.published, p)
	}
	if len(c.published) > 0 {
		c.namespace, err = newNamespace()
	}
	return err
}

// Namespace returns the network namespace that init has to join, or nil if it makes its
// own or stays in this process's. It belongs to the connection.
func (c *Connection) Namespace() *os.File { return c.namespace }

// Files returns the contents of /etc/hosts and /etc/resolv.conf.
func (c *Connection) Files() (hosts, resolv []byte) {
	return append(c.network.hosts(), c.hosts...), c.resolv
}

// Attach begins to pass on what reaches the published ports.
func (c *Connection) Attach() (err error) {
	if len(c.published) == 0 {
		return nil
	}
	if c.sockets, err = socketsIn(c.namespace); err != nil {
		return err
	}
	c.forwarder = newForwarder(c.sockets, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	for _, p := range c.published {
		c.forwarder.serve(p)
	}
	return nil
}

// Chosen lists the published ports for which the kernel chose the host's, a text each.
func (c *Connection) Chosen() []string {
	var all []string
	for _, p := range c.published {
		if p.First != p.Last || p.First == 0 {
			all = append(all, fmt.Sprintf("%s is published at port %d", p.Port, p.port))
		}
	}
	return all
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
	if c.namespace != nil {
		c.namespace.Close()
		c.namespace = nil
	}
	return nil
}
