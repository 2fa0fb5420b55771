package network

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/thread"
	"github.com/minirun/minirun/launcher/config"
)

// helper is a program that connects a namespace in user mode: it turns the packets of a tap
// device in the namespace into traffic of its own sockets outside. It needs no privilege
// over this machine's network.
type helper struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	pidfd   *os.File
	ended   chan struct{} // closed when stderr is complete
	ready   *os.File      // of slirp4netns: gets a byte when it is ready
	life    *os.File      // of slirp4netns: it ends when this is closed
	unguard func()        // of pasta
}

// userModePrograms are those that can connect a namespace, the one to prefer first.
func userModePrograms() []string { return []string{"slirp4netns", "pasta"} }

// Programs returns those programs for user mode that are installed.
func Programs() (found []string) {
	for _, name := range userModePrograms() {
		if _, err := exec.LookPath(name); err == nil {
			found = append(found, name)
		}
	}
	return found
}

// userMode returns the program for a network in user mode: the one that is named, else
// slirp4netns, which starts faster and works without a default route, else pasta.
func userMode(kind config.Network) (program string, path string, err error) {
	programs := userModePrograms()
	if kind != config.NetworkBridge {
		programs = []string{string(kind)}
	}
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return program, path, nil
		}
	}
	switch kind {
	case config.NetworkBridge:
		return "", "", hint.New("as a user it needs slirp4netns or pasta, and neither is installed", "sudo apt-get install slirp4netns, or --network none")
	case config.NetworkPasta:
		return "", "", hint.New("pasta is not installed", "sudo apt-get install passt, or --network slirp4netns")
	}
	return "", "", hint.New("slirp4netns is not installed", "sudo apt-get install slirp4netns, or --network pasta")
}

// startHelper starts a helper for a namespace. It is killed when the calling thread ends,
// in whatever way (PR_SET_PDEATHSIG).
func startHelper(program, path string, ns *os.File, guard Guard) (h *helper, err error) {
	h = &helper{ended: make(chan struct{})}
	if program == "pasta" {
		err = h.startPasta(path, ns, guard)
	} else {
		err = h.startSlirp(path, ns)
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *helper) start(path string, args []string, files ...*os.File) error {
	h.cmd = exec.Command(path, args...)
	h.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	h.cmd.Stderr, h.cmd.ExtraFiles = &limited{&h.stderr}, files
	pidfd := -1
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true, PidFD: &pidfd} // ^C is for the container
	if err := h.cmd.Start(); err != nil {
		return err
	}
	h.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	go func() {
		_ = h.cmd.Wait()
		close(h.ended)
	}()
	return nil
}

// limited keeps the first 4 KiB of what a helper says, and drops the rest.
type limited struct{ to *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.to.Write(p[:min(len(p), 4096-min(4096, l.to.Len()))])
	return len(p), nil
}

// userModeMTU is the MTU of a helper's device. No wire limits it, so it is the largest
// possible.
const userModeMTU = "65520"

func (h *helper) startSlirp(path string, ns *os.File) error {
	var ready, life *os.File
	var err error
	if h.ready, ready, err = os.Pipe(); err != nil {
		return err
	}
	defer ready.Close()
	if life, h.life, err = os.Pipe(); err != nil {
		return err
	}
	defer life.Close()
	return h.start(path, []string{
		"--configure", "--mtu=" + userModeMTU, "--enable-ipv6", "--disable-host-loopback", "--disable-dns",
		"--enable-sandbox", "--enable-seccomp", "--ready-fd=3", "--exit-fd=4", "--netns-type=path", "/proc/self/fd/5", deviceName,
	}, ready, life, ns)
}

// pastaNamespace is where pasta finds the network namespace: AppArmor's profile for it
// lets it read what is in /run/user/UID/netns.
const pastaNamespace = "/run/user/0/netns/minirun"

// startPasta names the namespace by a file: pasta gives up the capabilities that other
// ways to name one need. The file is in a mount namespace of pasta's own, so nothing of it
// is left when pasta has ended. It has a guard: execve(2) into a profile of AppArmor's
// clears the parent-death signal.
func (h *helper) startPasta(path string, ns *os.File, guard Guard) error {
	started := make(chan error, 1)
	thread.Go(func() {
		err := mountForPasta(ns)
		if err == nil {
			err = h.start(path, []string{
				"--config-net", "--quiet", "--foreground", "--no-map-gw", "--runas", "0:0",
				"-t", "none", "-u", "none", "-T", "none", "-U", "none", "--mtu", userModeMTU, "--ns-ifname", deviceName,
				"--netns", pastaNamespace,
			})
		}
		started <- err
		if err == nil {
			<-h.ended // else it would be killed at the end of this thread
		}
	})
	err := <-started
	if err == nil {
		h.unguard, err = guard(h.pidfd)
	}
	return err
}

// mountForPasta gives the thread a mount namespace in which the network namespace is
// mounted at [pastaNamespace].
func mountForPasta(ns *os.File) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return &os.PathError{Op: "mount as slave", Path: "/", Err: err}
	}
	over := "/run/user"
	if _, err := os.Stat(over); errors.Is(err, fs.ErrNotExist) {
		over = "/run" // as on a machine without systemd
	}
	if err := unix.Mount("tmpfs", over, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return &os.PathError{Op: "mount tmpfs", Path: over, Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(pastaNamespace), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(pastaNamespace, nil, 0o600); err != nil {
		return err
	}
	source := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	return os.NewSyscallError("mount the network namespace", unix.Mount(source, pastaNamespace, "", unix.MS_BIND, ""))
}

// wait waits until the helper has connected the namespace, and returns its address there.
func (h *helper) wait(ns *namespace) (netip.Addr, error) {
	var err error
	if h.ready != nil {
		err = h.waitReady()
	} else {
		err = h.waitRoute(ns)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	return addressIn(ns)
}

// helperTimeout is how long a helper may take to connect a namespace.
const helperTimeout = 10 * time.Second

// waitReady waits for slirp4netns' byte, or its end.
func (h *helper) waitReady() error {
	if err := h.ready.SetReadDeadline(time.Now().Add(helperTimeout)); err != nil {
		return err
	}
	n, err := h.ready.Read(make([]byte, 1))
	switch {
	case n > 0:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return h.late()
	}
	<-h.ended
	return h.failed()
}

func (h *helper) late() error {
	return hint.New(filepath.Base(h.cmd.Path)+" does not get ready", "--network none, if the command needs none")
}

// waitRoute waits for a default route, which pasta makes last.
func (h *helper) waitRoute(ns *namespace) error {
	for timeout := time.After(helperTimeout); ; {
		routes, err := whole(func() ([]netlink.Route, error) { return ns.link.RouteList(nil, netlink.FAMILY_ALL) })
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
				return nil
			}
		}
		select {
		case <-h.ended:
			return h.failed()
		case <-timeout:
			return h.late()
		case <-time.After(time.Millisecond):
		}
	}
}

// failed says why a helper has ended.
func (h *helper) failed() error {
	lines := strings.FieldsFunc(h.stderr.String(), func(r rune) bool { return r == '\n' })
	why := "it ended"
	for _, line := range lines {
		switch {
		case strings.Contains(line, "bytes to syslog"), strings.HasPrefix(line, "child failed"), strings.HasPrefix(line, "WARNING:"): // says nothing
		case strings.Contains(line, "/dev/net/tun"):
			return hint.New(filepath.Base(h.cmd.Path)+": "+line, "sudo modprobe tun && sudo chmod 666 /dev/net/tun (as udev does)")
		case strings.Contains(line, "External interface not usable"), strings.Contains(line, "No external routable interface"):
			return hint.New("this machine has no default route, which this pasta needs", "--network slirp4netns, or passt 2024 or later")
		default:
			why = line
		}
	}
	return hint.New(filepath.Base(h.cmd.Path)+": "+why, "--network none, if the command needs none")
}

// addressIn returns the IPv4 address of the device in a namespace, or the zero Addr.
func addressIn(ns *namespace) (netip.Addr, error) {
	device, err := ns.link.LinkByName(deviceName)
	if err != nil {
		return netip.Addr{}, err
	}
	addresses, err := whole(func() ([]netlink.Addr, error) { return ns.link.AddrList(device, netlink.FAMILY_V4) })
	if err != nil || len(addresses) == 0 {
		return netip.Addr{}, err
	}
	a, _ := netip.AddrFromSlice(addresses[0].IP)
	return a.Unmap(), nil
}

// hostAddressOut returns the address from which this machine reaches the world, where a
// container behind a helper finds it, or the zero Addr. Nothing is sent.
func hostAddressOut() netip.Addr {
	conn, err := net.Dial("udp4", "203.0.113.1:9") // nobody's (RFC 5737)
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}

// close kills the helper. It does not wait: to remove the tap device takes the kernel
// tens of milliseconds.
func (h *helper) close() {
	if h.pidfd != nil { // it was started
		_ = h.cmd.Process.Kill()
	}
	if h.unguard != nil {
		h.unguard()
	}
	for _, f := range []io.Closer{h.pidfd, h.ready, h.life} {
		_ = f.Close() // some are nil
	}
}

// ownsNetwork reports whether this process may make devices in its network namespace:
// whether that belongs to its user namespace (ioctl_nsfs(2)).
func ownsNetwork() bool {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return false
	}
	defer ns.Close()
	owner, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil { // EPERM: the owner is a user namespace that this process does not see
		return false
	}
	defer unix.Close(owner)
	var own, its unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/user", &own) != nil || unix.Fstat(owner, &its) != nil {
		return false
	}
	return own.Ino == its.Ino && own.Dev == its.Dev
}
