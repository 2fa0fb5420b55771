package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/thread"
)

// sockets makes sockets in a network namespace. A socket stays in the namespace that it was
// made in, whoever uses it. One thread in that namespace makes them all, and does nothing
// else.
type sockets struct {
	requests chan socketRequest
	closed   chan struct{}
}

type socketRequest struct {
	family, kind int
	done         chan socketResult
}

type socketResult struct {
	fd  int
	err error
}

// socketsIn starts the thread that makes sockets in a namespace. close ends it.
func socketsIn(ns *os.File) (*sockets, error) {
	s := &sockets{requests: make(chan socketRequest), closed: make(chan struct{})}
	entered := make(chan error)
	thread.Go(func() {
		err := enter(ns)
		entered <- err
		if err != nil {
			return
		}
		for {
			select {
			case r := <-s.requests:
				fd, err := unix.Socket(r.family, r.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
				r.done <- socketResult{fd, os.NewSyscallError("socket", err)}
			case <-s.closed:
				return
			}
		}
	})
	if err := <-entered; err != nil {
		return nil, fmt.Errorf("enter the container's network namespace: %w", err)
	}
	return s, nil
}

func (s *sockets) close() { close(s.closed) }

// socket returns a new socket, SOCK_STREAM or SOCK_DGRAM, of the family of an address.
func (s *sockets) socket(address netip.Addr, kind int) (int, error) {
	family := unix.AF_INET
	if address.Is6() {
		family = unix.AF_INET6
	}
	r := socketRequest{family, kind, make(chan socketResult, 1)}
	select {
	case s.requests <- r:
		result := <-r.done
		return result.fd, result.err
	case <-s.closed:
		return -1, net.ErrClosed
	}
}

// dialTimeout is how long a connection into the container may take.
const dialTimeout = 30 * time.Second

// dial connects a new socket to an address, as it is in the namespace.
func (s *sockets) dial(to netip.AddrPort, kind int) (net.Conn, error) {
	fd, err := s.socket(to.Addr(), kind)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "socket") // which the runtime polls, since it does not block
	defer file.Close()
	if err := connect(file, to); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return net.FileConn(file)
}

func connect(file *os.File, to netip.AddrPort) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if err := file.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	var cerr error
	if err := raw.Control(func(fd uintptr) { cerr = unix.Connect(int(fd), sockaddr(to)) }); err != nil {
		return err
	}
	if !errors.Is(cerr, unix.EINPROGRESS) {
		return cerr
	}
	err = raw.Write(func(fd uintptr) bool {
		// What the runtime's poller saw before connect(2) means nothing.
		var ready int
		if ready, cerr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0); cerr != nil || ready == 0 {
			return cerr != nil
		}
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if cerr = err; err == nil && errno != 0 {
			cerr = unix.Errno(errno)
		}
		return true
	})
	return errors.Join(err, cerr)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
