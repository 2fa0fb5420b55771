package network

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// datagrams passes on the datagrams that reach a socket. Each client has a socket of its
// own in the container's namespace, which answers come back to.
type datagrams struct {
	forwarder *forwarder
	host      *net.UDPConn
	to        netip.AddrPort

	mu      sync.Mutex
	clients map[netip.AddrPort]*datagramClient
}

type datagramClient struct {
	address netip.AddrPort
	conn    *net.UDPConn
	control []byte // from which of the host's addresses answers are sent
}

const (
	// maxClients is how many clients a socket keeps apart. One more takes the place of
	// another: whoever forges addresses cannot keep the others out for long.
	maxClients = 1024
	// clientIdle is how long a client is kept that neither sends nor is answered. It is
	// that of docker-proxy.
	clientIdle = 90 * time.Second
)

func newDatagrams(f *forwarder, host *net.UDPConn, to netip.AddrPort) *datagrams {
	return &datagrams{forwarder: f, host: host, to: to, clients: map[netip.AddrPort]*datagramClient{}}
}

// datagramBuffers have room for any datagram.
var datagramBuffers = sync.Pool{New: func() any { return new([1 << 16]byte) }}

// serve passes on datagrams until the socket is closed.
func (d *datagrams) serve() {
	defer d.close()
	var data [1 << 16]byte
	var control [128]byte
	for {
		n, controls, _, from, err := d.host.ReadMsgUDPAddrPort(data[:], control[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the error of an earlier answer, which did not arrive
		}
		client, err := d.client(from, control[:controls])
		if err != nil {
			continue // as a lost datagram
		}
		_ = client.conn.SetReadDeadline(time.Now().Add(clientIdle))
		_, _ = client.conn.Write(data[:n])
	}
}

// client returns the client with an address, which may be a new one.
func (d *datagrams) client(address netip.AddrPort, control []byte) (*datagramClient, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.clients[address]; c != nil {
		return c, nil
	}
	conn, err := d.forwarder.sockets.dial(d.to, unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	for other, c := range d.clients { // any of them
		if len(d.clients) < maxClients {
			break
		}
		delete(d.clients, other)
		_ = c.conn.Close()
	}
	c := &datagramClient{address, conn.(*net.UDPConn), answerControl(control)}
	d.clients[address] = c
	go d.answer(c)
	return c, nil
}

// answerControl turns the control message that came with a datagram (ip(7), IP_PKTINFO;
// ipv6(7), IPV6_PKTINFO) into that of an answer: from the address that was reached, by
// whatever interface leads back.
func answerControl(control []byte) []byte {
	if len(control) < unix.SizeofCmsghdr {
		return nil
	}
	answer := append([]byte(nil), control...)
	message, data, _, err := unix.ParseOneSocketControlMessage(answer)
	switch {
	case err != nil:
		return nil
	case message.Level == unix.IPPROTO_IP && len(data) >= 4:
		clear(data[:4]) // struct in_pktinfo starts with the interface
	case message.Level == unix.IPPROTO_IPV6 && len(data) >= 20:
		clear(data[16:20]) // struct in6_pktinfo ends with it
	}
	return answer
}

// answer passes on what the container answers to a client, until the client is forgotten.
func (d *datagrams) answer(c *datagramClient) {
	defer d.forget(c)
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return
	}
	for {
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			// A buffer is taken only when something has come: there are many clients.
			data := datagramBuffers.Get().(*[1 << 16]byte)
			defer datagramBuffers.Put(data)
			var n int
			if n, rerr = unix.Read(int(fd), data[:]); rerr == unix.EAGAIN {
				return false
			}
			if rerr == nil {
				_, _, _ = d.host.WriteMsgUDPAddrPort(data[:n], c.control, c.address)
			}
			return true
		})
		if err != nil { // closed, or idle
			return
		}
		if rerr == nil {
			_ = c.conn.SetReadDeadline(time.Now().Add(clientIdle))
		}
	}
}

func (d *datagrams) forget(c *datagramClient) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clients[c.address] == c {
		delete(d.clients, c.address)
	}
	_ = c.conn.Close()
}

func (d *datagrams) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.clients {
		_ = c.conn.Close()
	}
}
