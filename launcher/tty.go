package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/minirun/minirun/launcher/config"
)

// streams carry the container's standard streams: through pipes, or with -t
// through the master of a terminal that the container's init makes. The
// container never gets the launcher's own files, which it could reopen, or push
// input into (TIOCSTI).
type streams struct {
	o       *Options
	childs  []*os.File  // ends that init inherits
	socket  *os.File    // -t: our end of the socket over which the master comes
	master  *os.File    // -t
	host    *os.File    // -t: the user's terminal, or nil
	cooked  *term.State // the mode of the user's terminal while it is raw
	outputs sync.WaitGroup
	ours    []io.Closer
}

// attach gives the process its ends. After it close must be called.
func attach(process *libcontainer.Process, o *Options) (*streams, error) {
	s := &streams{o: o}
	var err error
	if o.Spec.Process.Terminal {
		err = s.attachTerminal(process)
	} else {
		err = s.attachPipes(process)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *streams) attachPipes(process *libcontainer.Process) error {
	for _, out := range []struct {
		field *io.Writer
		to    *os.File
	}{{&process.Stdout, s.o.Stdout}, {&process.Stderr, s.o.Stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		*out.field = w
		s.childs = append(s.childs, w)
		s.ours = append(s.ours, r)
		s.outputs.Go(func() {
			_, _ = io.Copy(out.to, r)
			r.Close() // nobody reads on: the container's next write is told so
		})
	}
	if !s.o.Interactive {
		return nil // libcontainer opens /dev/null
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	process.Stdin = r
	s.childs = append(s.childs, r)
	go func() {
		_, _ = io.Copy(w, s.o.Stdin)
		w.Close()
	}()
	return nil
}

// CheckTerminal refuses flags that pass input on to a terminal when the input is
// none.
func CheckTerminal(c *config.Config, stdin *os.File) error {
	if c.Terminal && c.Interactive && !isTerminal(stdin) {
		return errNoTerminal()
	}
	return nil
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

func errNoTerminal() error {
	return &Error{
		Op: "--tty", Err: errors.New("cannot attach stdin to a TTY-enabled container because stdin is not a terminal"),
		Help: "leave out -t when input comes from a pipe or file",
	}
}

func (s *streams) attachTerminal(process *libcontainer.Process) error {
	switch {
	case isTerminal(s.o.Stdin):
		s.host = s.o.Stdin
	case s.o.Interactive:
		return errNoTerminal()
	case isTerminal(s.o.Stdout):
		s.host = s.o.Stdout
	}
	if size := s.size(); size != nil {
		process.ConsoleWidth, process.ConsoleHeight = size.Col, size.Row
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	s.socket = os.NewFile(uintptr(pair[0]), "console")
	process.ConsoleSocket = os.NewFile(uintptr(pair[1]), "console")
	s.childs = append(s.childs, process.ConsoleSocket)
	s.ours = append(s.ours, s.socket)
	return nil
}

// started is called when init has its ends: the launcher's copies are closed, a
// terminal's master is taken, and the user's terminal made raw.
func (s *streams) started() error {
	s.closeChilds()
	if !s.o.Spec.Process.Terminal {
		return nil
	}
	var err error
	if s.master, err = receiveFile(s.socket); err != nil {
		return fmt.Errorf("receive the terminal: %w", err)
	}
	s.ours = append(s.ours, s.master)
	if s.host != nil && s.o.Interactive {
		if s.cooked, err = term.MakeRaw(int(s.host.Fd())); err != nil {
			return fmt.Errorf("set the terminal to raw mode: %w", err)
		}
	}
	s.resize() // it may have changed since attach
	s.outputs.Go(func() {
		_, _ = io.Copy(s.o.Stdout, s.master) // ends with EIO when the container has closed it
	})
	if s.o.Interactive {
		go func() { _, _ = io.Copy(s.master, s.o.Stdin) }()
	}
	return nil
}

// resize gives the container's terminal the size of the user's.
func (s *streams) resize() {
	if size := s.size(); size != nil && s.master != nil {
		_ = unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, size) // it went away: nothing to resize
	}
}

// size is that of the user's terminal, or nil when there is none any more.
func (s *streams) size() *unix.Winsize {
	if s.host == nil {
		return nil
	}
	size, err := unix.IoctlGetWinsize(int(s.host.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil
	}
	return size
}

// drain waits until all that the container wrote has been passed on.
func (s *streams) drain() { s.outputs.Wait() }

// close restores the user's terminal and closes every file that is still open.
func (s *streams) close() {
	s.closeChilds()
	for _, c := range s.ours {
		c.Close()
	}
	if s.cooked != nil {
		_ = term.Restore(int(s.host.Fd()), s.cooked) // a terminal that went away has no mode
	}
}

func (s *streams) closeChilds() {
	for _, f := range s.childs {
		f.Close()
	}
	s.childs = nil
}

// receiveFile takes the one file that comes over a socket (SCM_RIGHTS, unix(7)).
func receiveFile(socket *os.File) (*os.File, error) {
	name, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, rn, _, _, err := unix.Recvmsg(int(socket.Fd()), name, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("no file came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("not one file came")
	}
	return os.NewFile(uintptr(fds[0]), string(name[:n])), nil
}
