package launcher

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// Agent is a program that decides the calls which a filter notifies of (SCMP_ACT_NOTIFY;
// the runtime specification's config-linux.md, section Seccomp).
type Agent struct {
	Path     string // of the socket at which it listens (listenerPath); @NAME is an abstract one (unix(7))
	Metadata string // is passed on to it as it is (listenerMetadata)

	socket *os.File // nothing is read from it
}

const (
	// agentPatience is for an agent that has no room for another connection, or for a
	// longer message than a socket holds.
	agentPatience = 10 * time.Second

	// maxAgentMessage is what agents read in one piece: that of runc's own tests
	// (tests/cmd/seccompagent) has a buffer of this size.
	maxAgentMessage = 4096
)

// Connect connects to the agent, which waits for our message from then on. The error is
// an [Error].
func (a *Agent) Connect() error {
	if err := seccompProbe(probeListener); err != nil {
		return hint.With(&Error{Op: "seccomp: SCMP_ACT_NOTIFY", Err: err}, "it needs Linux 5.7")
	}
	if err := a.connect(); err != nil {
		why := "start it first"
		switch {
		case errors.Is(err, unix.ENAMETOOLONG):
			why = "a socket's path has at most 107 bytes"
		case errors.Is(err, unix.EAGAIN):
			err, why = errors.New("it accepts no connection"), "it is too busy, or stuck"
		case errors.Is(err, unix.EACCES):
			why = "this needs search permission for its directories, and write permission for itself"
		case errors.Is(err, unix.ECONNREFUSED) && a.isOther(): // unix_find_bsd of net/unix/af_unix.c
			err, why = errors.New("it is not a socket"), "name that of an agent which runs"
		}
		return hint.With(&Error{Op: "connect to the seccomp agent at " + a.Path, Err: err}, why+"; the profile's listenerPath names its socket")
	}
	return nil
}

// isOther reports whether there is something else than a socket at the agent's path.
func (a *Agent) isOther() bool {
	info, err := os.Stat(a.Path)
	return err == nil && info.Mode().Type() != os.ModeSocket
}

func (a *Agent) connect() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	a.socket = os.NewFile(uintptr(fd), a.Path)
	patience := unix.NsecToTimeval(agentPatience.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience) // counts for connect(2), too
	switch {
	case err != nil:
	case len(a.Path) > 107: // sizeof sun_path less one (unix(7))
		err = unix.ENAMETOOLONG
	case strings.ContainsRune(a.Path, 0):
		err = unix.EINVAL // the kernel would read the part before it
	default:
		err = uninterrupted(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: a.Path}) })
	}
	if err != nil {
		a.Close()
	}
	return err
}

// Close ends the connection. What was sent stays the agent's.
func (a *Agent) Close() { a.socket.Close() }

// Send passes the listener of a process's filter to the agent, with the message that the
// runtime specification calls the container process state, and closes the connection, which
// ends the message. pid is the process's. The listener stays the caller's.
func (a *Agent) Send(listener *os.File, pid int, state specs.State) error {
	defer a.Close()
	text, err := a.message(pid, state)
	rights := unix.UnixRights(int(listener.Fd()))
	for err == nil && len(text) > 0 {
		var n int
		err = uninterrupted(func() (err error) {
			n, err = unix.SendmsgN(int(a.socket.Fd()), text, rights, nil, unix.MSG_NOSIGNAL)
			return err
		})
		text, rights = text[n:], nil
	}
	if errors.Is(err, unix.EAGAIN) {
		err = errors.New("it reads nothing")
	}
	if err != nil {
		return &Error{Op: "pass the filter's listener to the seccomp agent at " + a.Path, Err: err}
	}
	return nil
}

func (a *Agent) message(pid int, state specs.State) ([]byte, error) {
	return json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: a.Metadata, State: state,
	})
}

// send passes the listener of PID 1 to the agent.
func (c *Container) send(listener *os.File, a *Agent) error {
	pid := c.launched.init.pid
	state := specs.State{
		Version: specs.Version, ID: c.state.ID, Status: specs.StateCreating, Pid: pid, Bundle: c.dir, Annotations: c.launched.o.Spec.Annotations,
	}
	if text, err := a.message(pid, state); err == nil && len(text) > maxAgentMessage && len(state.Annotations) > 0 {
		state.Annotations = nil // an image's labels are among them
		c.warn(fmt.Errorf("the seccomp agent gets no annotations: its message would be longer than %d bytes", maxAgentMessage))
	}
	return a.Send(listener, pid, state)
}

func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
