package launcher

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	json "github.com/go-json-experiment/json/v1"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
)

// An engine's container that is observed has a supervisor: a process that answers its
// filters' notifications, and watches and counts its calls. [Container.StartCreated] starts
// it while init is parked, and it ends after the container has. `exec`, another process of
// the engine's, passes it the listener of its own filter through the socket.
const (
	supervisorSocket = "supervisor.sock" // in the container's directory
	supervisorFile   = "supervisor.json" // there, too: which process it is

	supervisorListens = 3 // the socket
	supervisorReady   = 4 // a pipe; gets readyText, or why there is no supervisor
	readyText         = "ready"
)

// supervisorPatience is how long a supervisor may take to report what it has seen after
// its container has ended.
const supervisorPatience = 10 * time.Second

// startSupervisor starts the supervisor of a parked container, and waits until it is one.
func (c *Container) startSupervisor(cmd *exec.Cmd) error {
	socket, err := c.listenForFilters()
	if err != nil {
		return fmt.Errorf("observe the container: %w", err)
	}
	defer socket.Close()
	answer, ready, err := os.Pipe()
	if err != nil {
		return err
	}
	defer answer.Close()
	cmd.ExtraFiles = []*os.File{socket, ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // signals to the engine's group are not meant for it
	err = cmd.Start()
	ready.Close()
	if err != nil {
		return fmt.Errorf("observe the container: %w", err)
	}
	text, err := io.ReadAll(answer)
	if string(text) == readyText {
		return cmd.Process.Release()
	}
	if len(text) > 0 {
		err = errors.New(string(text))
	}
	return errors.Join(err, cmd.Wait())
}

// listenForFilters makes the socket. It is bound by way of the directory's descriptor: the
// path that an engine chooses may be longer than a socket's may be (unix(7)).
func (c *Container) listenForFilters() (*os.File, error) {
	dir, path, err := inDirectory(c.dir, supervisorSocket)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // that of an earlier launch
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	return l.File()
}

// supervisor returns the process, or nil if there is none (any more).
func (c *Container) supervisor() (*initProcess, error) {
	var s State
	data, err := atomicfile.Read(filepath.Join(c.dir, supervisorFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return nil, fmt.Errorf("find the container's supervisor: %w", err)
	}
	p, err := s.open()
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	return p, err
}

// Supervised reports whether a process observes this container: filters with a listener
// can be passed to it by [Container.Observe].
func (c *Container) Supervised() (bool, error) {
	p, err := c.supervisor()
	if p != nil {
		p.pidfd.Close()
	}
	return p != nil, err
}

// Observe passes the listener of a process's filter to the container's supervisor. The
// listener stays the caller's.
func (c *Container) Observe(listener *os.File) error {
	dir, path, err := inDirectory(c.dir, supervisorSocket)
	if err != nil {
		return err
	}
	defer dir.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("pass the filter's listener to the container's supervisor: %w", err)
	}
	defer conn.Close()
	if _, _, err = conn.WriteMsgUnix([]byte{0}, unix.UnixRights(int(listener.Fd())), nil); err != nil {
		return fmt.Errorf("pass the filter's listener to the container's supervisor: %w", err)
	}
	return nil
}

// endSupervisor waits until the supervisor of a container that has ended has reported all,
// and ends one that does not come to its end.
func (c *Container) endSupervisor() error {
	p, err := c.supervisor()
	if err != nil || p == nil {
		return err
	}
	defer p.pidfd.Close()
	if p.endsWithin(supervisorPatience) {
		return nil
	}
	err = p.signal(unix.SIGKILL)
	p.endsWithin(supervisorPatience)
	return errors.Join(fmt.Errorf("the supervisor of container %s did not end, and was killed", c.state.Name), err)
}

// Supervise is the work of the process that [Container.StartCreated] starts. It has a parked
// container observed, watched and its calls counted as the options of prepare say, which
// gets the container's standard error, until the container has ended and no process has its
// filter any more.
func (c *Container) Supervise(prepare func(stderr *os.File) (Options, error)) error {
	ready := os.NewFile(supervisorReady, "ready")
	s, err := c.newSupervision(prepare)
	if err != nil {
		_, _ = ready.WriteString(err.Error()) // nobody is left to hear of a failure
		return err
	}
	defer s.init.pidfd.Close()
	if _, err := ready.WriteString(readyText); err != nil {
		return errors.Join(err, s.stop())
	}
	ready.Close()
	return s.run()
}

// supervision is a supervisor's state.
type supervision struct {
	o       Options
	init    *initProcess
	watcher *watcher
	filters *net.UnixListener

	accepted  chan struct{}  // is closed when no more filters are taken
	answering sync.WaitGroup // an observer for each filter
	observers []*observer    // these, for who waits for accepted
	one       sync.Mutex     // of them answers at a time, as an Observation expects it
	mu        sync.Mutex
	err       error
}

func (c *Container) newSupervision(prepare func(stderr *os.File) (Options, error)) (s *supervision, err error) {
	s = &supervision{}
	if s.init, err = c.state.open(); err != nil {
		return nil, fmt.Errorf("observe container %s: %w", c.state.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
			s.init.pidfd.Close()
		}
	}()
	fd, err := unix.PidfdGetfd(int(s.init.pidfd.Fd()), unix.Stderr, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_getfd", err)
	}
	if s.o, err = prepare(os.NewFile(uintptr(fd), "the container's standard error")); err != nil {
		return nil, err
	}
	socket := os.NewFile(supervisorListens, supervisorSocket)
	defer socket.Close()
	l, err := net.FileListener(socket)
	if err != nil {
		return nil, err
	}
	s.filters = l.(*net.UnixListener)
	filtered := s.o.Filter != nil // an exec is the container's once it has the filter
	if s.o.Record != nil {
		s.o.Record.filtered = filtered
		if err := s.o.Record.attach(s.init.pid, "", s.o.Spec.Process.Cwd); err != nil {
			return nil, fmt.Errorf("count system calls: %w", err)
		}
	}
	if s.o.Watch != nil {
		s.o.Watch.filtered = filtered
		s.watcher = startWatch(s.init.pid, "", s.o.Spec, *s.o.Watch)
		if err := s.watcher.begin(); err != nil {
			s.o.Watch.Warn(err)
			err = s.watcher.stop()
			s.watcher = nil
			if err != nil {
				return nil, err
			}
		}
	}
	return s, c.noteSupervisor()
}

// noteSupervisor writes down that this process is the supervisor.
func (c *Container) noteSupervisor() error {
	var own State
	if err := own.identify(os.Getpid()); err != nil {
		return err
	}
	data, err := json.Marshal(own)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(c.dir, supervisorFile), data, 0o600)
}

// run answers until all has ended.
func (s *supervision) run() error {
	s.accept()
	for !s.init.endsWithin(time.Hour) {
	}
	s.filters.Close()
	<-s.accepted
	s.answering.Wait()
	s.note(s.stop())
	return s.err
}

// accept begins to take filters, until the socket is closed.
func (s *supervision) accept() {
	s.accepted = make(chan struct{})
	go func() {
		defer close(s.accepted)
		for {
			conn, err := s.filters.AcceptUnix()
			if err != nil {
				return
			}
			s.note(s.take(conn))
		}
	}()
}

func (s *supervision) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
}

// take receives a filter's listener and starts to answer its notifications.
func (s *supervision) take(conn *net.UnixConn) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(supervisorPatience)); err != nil {
		return err
	}
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), rights)
	if err != nil {
		return fmt.Errorf("receive a filter's listener: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err == nil && len(messages) != 1 {
		err = errors.New("there is none in the message")
	}
	var fds []int
	if err == nil {
		fds, err = unix.ParseUnixRights(&messages[0])
	}
	if err != nil {
		return fmt.Errorf("receive a filter's listener: %w", err)
	}
	listener := os.NewFile(uintptr(fds[0]), "listener")
	if s.o.Observe == nil {
		listener.Close()
		return errors.New("a filter has a listener that nobody asked for")
	}
	w, err := observe(listener, s.init.pid, s.oneByOne())
	if err != nil {
		return err
	}
	s.observers = append(s.observers, w)
	s.answering.Go(func() {
		<-w.done
		s.note(w.stop())
	})
	return nil
}

// oneByOne is the observation, for several filters at a time.
func (s *supervision) oneByOne() Observation {
	o := *s.o.Observe
	judge, denied := o.Judge, o.WhenDenied
	o.Judge = func(n Notification) Answer {
		s.one.Lock()
		defer s.one.Unlock()
		return judge(n)
	}
	o.WhenDenied = func(d Denied) {
		s.one.Lock()
		defer s.one.Unlock()
		denied(d)
	}
	return o
}

// stop ends the watch and the count.
func (s *supervision) stop() error {
	return errors.Join(s.watcher.stop(), s.o.Record.stop())
}
