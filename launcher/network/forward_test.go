package network

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/internal/thread"
	"github.com/minirun/minirun/launcher/config"
)

// open opens a network of no kind with one published port, at a port of the kernel's
// choice, and attaches it.
func open(t *testing.T, address, protocol string) *Connection {
	t.Helper()
	testenv.Root(t)
	pub := config.Publication{Flag: "--publish 80", Port: config.Port{Number: 80, Protocol: protocol}}
	if address != "" {
		pub.Address = netip.MustParseAddr(address)
	}
	c, err := (&Network{Kind: config.NetworkNone, Published: []config.Publication{pub}}).Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, _, err := c.Attach("h", ""); err != nil {
		t.Fatal(err)
	}
	return c
}

// inside calls f in the connection's namespace, as the container would.
func inside[T any](t *testing.T, c *Connection, f func() (T, error)) T {
	t.Helper()
	var value T
	err := thread.Do(func() (err error) {
		if err := enter(c.namespace.file); err != nil {
			return err
		}
		value, err = f()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func serveTCP(t *testing.T, c *Connection, handle func(*net.TCPConn)) {
	t.Helper()
	l := inside(t, c, func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:80") })
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			}()
		}
	}()
}

func dial(t *testing.T, c *Connection) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.published[0].port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// Each side learns that the other has sent all, and can go on sending.
func TestForwardTCP(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1"} {
		c := open(t, address, "tcp")
		serveTCP(t, c, func(conn *net.TCPConn) {
			_, _ = conn.Write([]byte("hello "))
			_ = conn.CloseWrite()
			all, _ := io.ReadAll(conn)
			if string(all) != "over" {
				t.Errorf("the container got %q", all)
			}
		})
		conn := dial(t, c)
		if greeting, err := io.ReadAll(conn); err != nil || string(greeting) != "hello " {
			t.Errorf("%q, %v", greeting, err)
		}
		if _, err := conn.Write([]byte("over")); err != nil {
			t.Error(err)
		}
		_ = conn.CloseWrite()
		c = open(t, address, "tcp")
		serveTCP(t, c, func(conn *net.TCPConn) {
			all, _ := io.ReadAll(conn)
			_, _ = conn.Write(bytes.ToUpper(all))
		})
		conn = dial(t, c)
		data := bytes.Repeat([]byte("abcdefgh"), 1<<17)
		go func() {
			_, _ = conn.Write(data)
			_ = conn.CloseWrite()
		}()
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, bytes.ToUpper(data)) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	}
}

// Where nobody listens the client is reset, as it would be by the container.
func TestForwardRefused(t *testing.T) {
	c := open(t, "", "tcp")
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.published[0].port))
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

// What a container has sent before its end reaches its clients, and those that linger do
// not hold the end up.
func TestForwardClose(t *testing.T) {
	c := open(t, "", "tcp")
	done := make(chan struct{})
	serveTCP(t, c, func(conn *net.TCPConn) {
		_, _ = conn.Write(bytes.Repeat([]byte("x"), 1<<20))
		close(done)
	})
	conn := dial(t, c)
	read := make(chan int)
	go func() {
		<-done
		all, _ := io.ReadAll(conn)
		read <- len(all)
	}()
	<-done
	begin := time.Now()
	_ = c.Close()
	if took := time.Since(begin); took > lastWords+time.Second {
		t.Errorf("it took %v", took)
	}
	if n := <-read; n != 1<<20 {
		t.Errorf("%d bytes came", n)
	}
	if _, err := net.Dial("tcp", conn.RemoteAddr().String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the port is open: %v", err)
	}
}

// No descriptor is left of a thousand connections, of which hundreds are open at once.
func TestForwardMany(t *testing.T) {
	c := open(t, "127.0.0.1", "tcp")
	serveTCP(t, c, func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
	before := openSockets(t)
	var all sync.WaitGroup
	limit := make(chan struct{}, 200)
	for range 1000 {
		limit <- struct{}{}
		all.Go(func() {
			defer func() { <-limit }()
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.published[0].port))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = conn.Write([]byte("x"))
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if now := openSockets(t); now <= before {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%d sockets, at first %d", now, before)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// openSockets counts this process's sockets. Pipes of splice(2) are in a pool that the garbage
// collector empties.
func openSockets(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, _ := os.Readlink(f); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// Answers come from the address that was asked, to whoever asked.
func TestForwardUDP(t *testing.T) {
	c := open(t, "", "udp")
	server := inside(t, c, func() (net.PacketConn, error) { return net.ListenPacket("udp", "127.0.0.1:80") })
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		data := make([]byte, 1<<16)
		for {
			n, from, err := server.ReadFrom(data)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(data[:n], from)
		}
	}()
	for _, address := range []string{"127.0.0.1", "127.0.0.2"} { // which the kernel would answer from 127.0.0.1
		for i, size := range []int{1, 60000} {
			conn, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(address), c.published[0].port).String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			want := bytes.Repeat([]byte{byte(i)}, size)
			if _, err := conn.Write(want); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 1<<16)
			n, err := conn.Read(got)
			if err != nil || !bytes.Equal(got[:n], want) {
				t.Errorf("%s: %d bytes came back, %v", address, n, err)
			}
		}
	}
}

// Forged clients take each other's places; memory and descriptors stay limited.
func TestForwardUDPClients(t *testing.T) {
	c := open(t, "127.0.0.1", "udp")
	d := newDatagrams(c.forwarder, c.published[0].udp[0], netip.MustParseAddrPort("127.0.0.1:80"))
	for i := range maxClients + 100 {
		if _, err := d.client(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1)), nil); err != nil {
			t.Fatal(err)
		}
	}
	d.mu.Lock()
	n := len(d.clients)
	d.mu.Unlock()
	if n != maxClients {
		t.Errorf("%d clients are kept", n)
	}
	d.close()
}

// FuzzAnswerControl: a control message is the kernel's, but has lengths in it.
func FuzzAnswerControl(f *testing.F) {
	f.Add(unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: 1, Spec_dst: [4]byte{127, 0, 0, 1}}))
	f.Add(unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: 1}))
	f.Fuzz(func(t *testing.T, control []byte) {
		if answer := answerControl(control); answer != nil && len(answer) != len(control) {
			t.Errorf("%x: %x", control, answer)
		}
	})
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).AddrPort().Port()
	web := config.Port{Number: 80, Protocol: "tcp"}
	local := netip.MustParseAddr("127.0.0.1")
	_, err = listen(config.Publication{Flag: "--publish X", Address: local, First: port, Last: port, Port: web})
	if want := fmt.Sprintf("--publish X: listen tcp 127.0.0.1:%d: address already in use", port); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	p, err := listen(config.Publication{Address: local, First: port, Last: 65535, Port: web})
	if err != nil || p.port <= port {
		t.Fatalf("of a range: %v, %v", p, err)
	}
	p.close()
	_, err = listen(config.Publication{Flag: "--publish X", Address: netip.MustParseAddr("192.0.2.1"), Port: web})
	if want := "--publish X: listen tcp 192.0.2.1:0: cannot assign requested address"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
