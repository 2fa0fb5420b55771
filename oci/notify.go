package oci

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
)

// notifyVariable names the socket of a service manager that waits for readiness (sd_notify(3)).
const notifyVariable = "NOTIFY_SOCKET"

// notifyDir is where a container finds its own socket, as with runc.
const notifyDir = "/run/notify"

const notifySocket = "notify.sock"

// notifier passes a container's readiness on to the service manager of the runtime. The container has a socket of its
// own: other messages, such as which process is the service's, are not the container's to send.
type notifier struct {
	manager *net.UnixConn
	socket  int
}

func notifyPath(container *launcher.Container) string {
	return filepath.Join(container.Dir(), "notify")
}

// offerNotify mounts the directory of the container's socket, if the runtime has a service manager.
func offerNotify(spec *specs.Spec, container *launcher.Container) error {
	if os.Getenv(notifyVariable) == "" {
		return nil
	}
	dir := notifyPath(container)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask: the container may be a user's
		return err
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: notifyDir, Source: dir, Type: "bind", Options: []string{"bind", "nosuid", "noexec", "nodev", "ro"},
	})
	spec.Process.Env = append(spec.Process.Env, notifyVariable+"="+filepath.Join(notifyDir, notifySocket))
	return nil
}

// listenNotify opens the container's socket, before its command runs. It returns nil if there is no service manager, or
// was none when the container was created.
func listenNotify(container *launcher.Container) (_ *notifier, err error) {
	name := os.Getenv(notifyVariable)
	if name == "" {
		return nil, nil
	}
	dir, err := unix.Open(notifyPath(container), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	defer unix.Close(dir)
	n := &notifier{}
	if n.manager, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"}); err != nil {
		return nil, fmt.Errorf("%s: %w", notifyVariable, err)
	}
	if n.socket, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		n.manager.Close()
		return nil, os.NewSyscallError("socket", err)
	}
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir, notifySocket) // the path itself may be longer than 107 bytes: unix(7)
	if err := unix.Bind(n.socket, &unix.SockaddrUnix{Name: path}); err != nil {
		n.close()
		return nil, os.NewSyscallError("bind", err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *notifier) close() {
	if n != nil {
		n.manager.Close()
		unix.Close(n.socket)
	}
}

// relay passes readiness on until the process has ended. A runtime that leaves the container says
// which process the service's is now, and returns as soon as it is ready.
func (n *notifier) relay(pid int, leave bool) error {
	if n == nil {
		return nil
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	for {
		events := []unix.PollFd{{Fd: int32(n.socket), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
		if _, err := unix.Poll(events, -1); err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
		message, err := n.receive()
		if err != nil {
			return err
		}
		if isReady(message) {
			if err := n.send("READY=1\n"); err != nil {
				return err
			}
			if leave {
				return n.send(fmt.Sprintf("MAINPID=%d\n", pid))
			}
		}
		if message == nil && events[1].Revents != 0 { // what the process has sent before its end counts
			return nil
		}
	}
}

// receive reads a message, or returns nil if there is none.
func (n *notifier) receive() ([]byte, error) {
	buffer := make([]byte, 4096)
	size, _, err := unix.Recvfrom(n.socket, buffer, 0)
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("recvfrom", err)
	}
	return buffer[:size], nil
}

// isReady reports whether a message says that the service is ready.
func isReady(message []byte) bool {
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		if bytes.Equal(line, []byte("READY=1")) {
			return true
		}
	}
	return false
}

func (n *notifier) send(text string) error {
	if _, err := n.manager.Write([]byte(text)); err != nil {
		return fmt.Errorf("%s: %w", notifyVariable, err)
	}
	return nil
}
