package network

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/thread"
	"github.com/minirun/minirun/launcher/config"
)

// namespace is a network namespace whose loopback device is up. It lives as long as
// something is in it or has it open.
type namespace struct {
	file *os.File
	link *netlink.Handle // a netlink socket in it
}

// newNamespace makes a namespace. This takes the kernel longer than everything else about a
// network.
func newNamespace() (*namespace, error) {
	ns := &namespace{}
	if err := thread.Do(ns.make); err != nil {
		ns.close()
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return ns, nil
}

// make moves the calling thread to a new namespace.
func (ns *namespace) make() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if ns.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	return ns.begin()
}

// begin sets up the namespace that the calling thread is in.
func (ns *namespace) begin() (err error) {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bring its loopback device up: %w", err)
	}
	ns.link, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	return err
}

// ownNamespace returns the network's own namespace: the given one, the prepared one, or
// else a new one.
func (n *Network) ownNamespace() (*namespace, error) {
	if n.Namespace != nil {
		ns := &namespace{file: n.Namespace}
		return ns, ns.do(ns.begin)
	}
	if n.Prepared == nil {
		return newNamespace()
	}
	<-n.Prepared.done
	return n.Prepared.ns, n.Prepared.err
}

// close drops the namespace. It may be nil.
func (ns *namespace) close() {
	if ns == nil {
		return
	}
	if ns.link != nil {
		ns.link.Close()
	}
	if ns.file != nil {
		ns.file.Close()
	}
}

// do calls f on a thread in the namespace.
func (ns *namespace) do(f func() error) error {
	return thread.Do(func() error {
		if err := enter(ns.file); err != nil {
			return err
		}
		return f()
	})
}

// Prepared is a namespace that is being made. It is for one launch.
type Prepared struct {
	done chan struct{}
	ns   *namespace
	err  error
}

// Prepare begins to make the namespace of a launch with these flags, while other parts of
// the launch are prepared. It returns nil if the launch needs none, or one that belongs to
// another user namespace.
func Prepare(c *config.Config) *Prepared {
	if c.OwnIDs != 0 || !New(c).connected() {
		return nil
	}
	p := &Prepared{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.ns, p.err = newNamespace()
	}()
	return p
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return os.NewSyscallError("ioctl", err)
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}

// enter moves the calling thread to a network namespace.
func enter(ns *os.File) error {
	return os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
}
