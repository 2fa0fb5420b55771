package network

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// forwarder passes on what reaches published ports: each connection of a client becomes
// one that is made inside the container's namespace. It needs no rules of a firewall,
// and nothing of it outlives this process.
type forwarder struct {
	sockets *sockets
	to      netip.Addr // the container's
	slots   chan struct{}

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]bool // clients
	down   sync.WaitGroup     // one for each connection from which the container may still send
}

// maxConnections is how many connections there are at once, at most. Others wait in the
// kernel, which has its own limit for them. Each takes up to six descriptors: two
// sockets, and two pipes for splice(2).
const maxConnections = 4096

func newForwarder(s *sockets, to netip.Addr) *forwarder {
	slots := maxConnections
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		slots = max(1, min(slots, int(min(files.Cur, 1<<20)/8)))
	}
	return &forwarder{sockets: s, to: to, slots: make(chan struct{}, slots), open: map[io.Closer]bool{}}
}

// serve passes on what reaches a published port, until that or the forwarder is closed.
func (f *forwarder) serve(p *published) {
	to := netip.AddrPortFrom(f.to, p.Port.Number)
	for _, l := range p.tcp {
		go f.accept(l, to)
	}
	for _, c := range p.udp {
		go newDatagrams(f, c, to).serve()
	}
}

func (f *forwarder) accept(l *net.TCPListener, to netip.AddrPort) {
	for {
		f.slots <- struct{}{}
		client, err := l.AcceptTCP()
		if err != nil {
			<-f.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			<-time.After(100 * time.Millisecond) // no descriptors, or a client that has gone
			continue
		}
		go func() {
			defer func() { <-f.slots }()
			f.connect(client, to)
		}()
	}
}

// connect connects a client with the container, and returns when both have ended.
func (f *forwarder) connect(client *net.TCPConn, to netip.AddrPort) {
	defer client.Close()
	if !f.add(client) {
		return
	}
	defer f.remove(client)
	conn, err := f.sockets.dial(to, unix.SOCK_STREAM)
	if err != nil {
		f.down.Done()
		_ = client.SetLinger(0) // a reset: the client learns that nobody listens
		return
	}
	defer conn.Close()
	server := conn.(*net.TCPConn)
	_ = server.SetKeepAlive(true)
	up := make(chan struct{})
	go func() {
		defer close(up)
		pass(server, client)
	}()
	pass(client, server)
	f.down.Done()
	<-up
}

// pass copies until the end of what comes, and passes on that end. After an error both
// connections are reset.
func pass(to, from *net.TCPConn) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		_ = to.SetLinger(0)
		_ = from.SetLinger(0)
		_ = to.Close()
		_ = from.Close()
	}
}

// add reports false when the forwarder has been closed.
func (f *forwarder) add(client io.Closer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.open[client] = true
	f.down.Add(1)
	return true
}

func (f *forwarder) remove(client io.Closer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, client)
}

// lastWords is how long clients have to take what a container that has ended had sent.
const lastWords = time.Second

// close ends all connections: those into the container end with those of its clients.
// The ports have been closed.
func (f *forwarder) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	sent := make(chan struct{})
	go func() {
		f.down.Wait()
		close(sent)
	}()
	select {
	case <-sent:
	case <-time.After(lastWords):
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.open {
		_ = c.Close()
	}
}
