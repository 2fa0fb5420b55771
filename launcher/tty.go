package launcher

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/minirun/minirun/launcher/config"
)

// terminal is the part of streams that containers with -t need.
type terminal struct {
	socket *os.File // our end of the socket over which init sends the master
	master *os.File
	// slave keeps the container's side open. Otherwise a read of the master fails with
	// EIO whenever no process of the container has the terminal open, and a process may
	// open it again later: /dev/console is the same terminal.
	slave  *os.File
	host   *os.File    // the user's terminal, or nil
	cooked *term.State // the mode to restore while host is raw, or nil
}

// CheckTerminal returns an error if the flags ask for a terminal and its input, but
// standard input is not a terminal.
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
		Cause: CauseNoTerminal,
	}
}

func (s *streams) attachTerminal(process *libcontainer.Process) error {
	switch {
	case isTerminal(s.o.Stdin):
		s.host = s.o.Stdin
	case s.o.Interactive && s.o.Stdin != nil:
		return errNoTerminal()
	case isTerminal(s.o.Stdout):
		s.host = s.o.Stdout
	}
	size := s.size()
	if s.o.Attach != nil {
		size = s.o.Attach.size
	}
	if size != nil {
		process.ConsoleWidth, process.ConsoleHeight = size.Col, size.Row
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	s.socket = os.NewFile(uintptr(pair[0]), "console")
	process.ConsoleSocket = os.NewFile(uintptr(pair[1]), "console")
	s.inherited = append(s.inherited, process.ConsoleSocket)
	s.ours = append(s.ours, s.socket)
	return nil
}

// takeTerminal receives the terminal that init has made, and opens the container's side.
func (s *streams) takeTerminal() error {
	fd, err := receiveFile(s.socket)
	if err == nil {
		err = unix.SetNonblock(fd, true) // or output.finish could not end a read
	}
	if err != nil {
		return fmt.Errorf("receive the terminal: %w", err)
	}
	s.master = os.NewFile(uintptr(fd), "terminal")
	s.ours = append(s.ours, s.master)
	if s.slave, err = openSlave(s.master); err != nil {
		return err
	}
	s.ours = append(s.ours, s.slave)
	return nil
}

// serveTerminal sets the user's terminal to raw mode, and starts passing on the data of the
// container's terminal.
func (s *streams) serveTerminal() (err error) {
	if s.host != nil && s.o.Interactive {
		if s.cooked, err = term.MakeRaw(int(s.host.Fd())); err != nil {
			return rawError(err)
		}
	}
	s.resize() // the size may have changed since attach
	out := &output{name: standardOutput, from: s.master, to: s.o.Stdout, log: s.logged("stdout"), show: s.o.Attach.shown(frameStdout)}
	s.outputs = append(s.outputs, out)
	s.running.Go(out.run)
	if s.o.Interactive && s.o.Stdin != nil {
		go s.passKeys()
	}
	return nil
}

// passKeys passes on what is typed, until the keys to detach are.
func (s *streams) passKeys() {
	from, keys, data := keyboard{s.o.Stdin, s}, detachKeys{keys: s.o.detachKeys}, make([]byte, 32<<10)
	for {
		n, err := from.Read(data)
		typed, detach := keys.find(data[:n])
		if _, werr := s.master.Write(typed); werr != nil || err != nil && !detach {
			return
		}
		if detach {
			if s.cooked != nil {
				_ = term.Restore(int(s.host.Fd()), s.cooked) // as close does, for what is in its place then
			}
			s.o.leave()
			return
		}
	}
}

func rawError(err error) error { return fmt.Errorf("set the terminal to raw mode: %w", err) }

// openSlave opens the container's side of a terminal (ioctl_tty(2), Linux 4.13).
func openSlave(master *os.File) (*os.File, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, os.NewSyscallError("ioctl(TIOCGPTPEER)", errno)
	}
	return os.NewFile(fd, "terminal"), nil
}

// resize gives the container's terminal the size of the user's.
func (s *streams) resize() {
	if size := s.size(); size != nil && s.master != nil {
		_ = unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, size) // fails only when the terminal is gone
	}
}

// size returns the size of the user's terminal, or nil if there is no terminal.
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

// receiveFile receives one file over a socket (SCM_RIGHTS, unix(7)).
func receiveFile(socket *os.File) (fd int, err error) {
	name, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, rn, _, _, err := unix.Recvmsg(int(socket.Fd()), name, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(messages) != 1 {
		return -1, errors.New("no file was sent")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.New("several files were sent")
	}
	return fds[0], nil
}
