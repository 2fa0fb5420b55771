package launcher

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/arm"
	"github.com/minirun/minirun/launcher/network"
	"github.com/minirun/minirun/launcher/plan"
)

// ErrNameInUse says that a container of that name exists.
var ErrNameInUse = errors.New("the name is in use by a container")

// ErrOwned says that a container's launcher, which alone may delete it, is alive.
var ErrOwned = errors.New("it belongs to a launcher that is running")

// StateError says that a container's status does not allow what was asked for.
type StateError struct {
	Op     string // such as "start"
	Name   string
	Status Status
}

func (e *StateError) Error() string {
	return fmt.Sprintf("%s container %s: it is %s", e.Op, e.Name, e.Status)
}

// launched is what the process that created a container holds of it.
type launched struct {
	o          Options
	plan       *plan.Plan              // nil: libcontainer's init sets the container up
	planFiles  []*os.File              // the plan, and what its init is run from, until that has been started
	container  *libcontainer.Container // nil with a plan
	cgroup     *ownCgroup              // nil where systemd keeps it, and where there is none
	made       bool                    // the cgroup has been made
	command    *libcontainer.Process   // what init is to become
	process    startedInit             // nil until init has been started
	page       *arm.Page
	streams    *streams
	init       *initProcess // nil until it has been started
	guard      *guard
	reaper     *os.File            // what --init runs, or nil
	network    *network.Connection // nil for an engine's container
	hostname   string              // the container's
	hostsFile  string              // what is mounted on its /etc/hosts, or ""
	hostLines  string              // of it, what was added when the network was attached
	etc        []etcFile           // the files of its own
	launch     []byte              // a [Launch] to write, or nil
	observer   *observer           // nil unless the filter is observed
	others     *supervision        // and so are those of what others run in the container
	observed   observedFilter      // this filter
	watcher    *watcher            // nil unless the container is to be watched
	watched    bool                // the watcher sees all calls
	hooks      []hook              // what is done while init is parked, in this order
	ended      *os.ProcessState    // init's, when it has been waited for
	kept       *keptBack           // nil unless the container is an engine's
	handedOver bool                // and libcontainer's state has been written for other processes
	waits      error               // why Go waits for the container, or nil: C does
	discarded  bool
}

// hook is a step of a start that needs init to wait for it.
type hook struct {
	op string // what it does, for an error
	do func() error
}

// limit puts a parked init under its limits.
func (l *launched) limit() error {
	err := l.cgroup.limit()
	if err != nil {
		return &Error{Op: "set the cgroup's limits", Err: err, Cause: CauseLimits}
	}
	return nil
}

const takeStreams = "take over the container's streams"

// takeStreams takes a parked init's terminal.
func (l *launched) takeStreams() error {
	if l.waits == nil {
		return l.streams.taken()
	}
	return l.streams.started()
}

// record starts counting a parked init's calls.
func (l *launched) record() error {
	if l.o.Record == nil {
		return nil
	}
	return l.o.Record.attach(l.init.pid, l.cgroup.paths()[""], l.o.Spec.Process.Cwd)
}

// spare is the filter to load when the container is not watched, or nil.
func (l *launched) spare() []unix.SockFilter {
	if l.o.Observe == nil {
		return nil
	}
	return l.o.Observe.Spare
}

// arm puts a parked init under its filter.
func (c *Container) arm() error {
	l := c.launched
	if l.o.Filter == nil {
		return nil
	}
	filter, flags := l.o.Filter, l.o.FilterFlags
	if spare := l.spare(); spare != nil && !l.watched {
		filter, flags = spare, l.o.Observe.SpareFlags
	}
	l.page.Load(filter, flags)
	listener, err := l.page.Install(l.init.pidfd)
	switch {
	case err != nil:
		return armError(err)
	case listener == nil:
		return nil
	case l.o.Observe != nil:
		if err := c.observeOthers(l, observedFilter{filter, flags}); err != nil {
			listener.Close()
			return err
		}
		l.observer, err = observe(listener, l.init.pid, *l.o.Observe)
		return err
	}
	defer listener.Close()
	if l.o.Agent == nil {
		return errors.New("nobody answers the filter's notifications")
	}
	return c.send(listener, l.o.Agent)
}

// watch has the calls of a parked init watched from here on. It goes on without if the
// kernel does not let this process watch.
func (l *launched) watch() error {
	if l.watcher == nil {
		return nil
	}
	if err := l.watcher.begin(); err != nil {
		l.o.Watch.Warn(err)
		return l.watcher.stop()
	}
	l.watched = l.watcher.scope.Complete()
	return nil
}

// Start has a created container's init become its command. It returns when that is
// so. When it fails the container has stopped, and the error is an [Error] with the
// status to end with. Only the process that created the container can start it; see
// [Container.StartCreated] for an engine's.
func (c *Container) Start() error {
	l := c.launched
	if l == nil || l.o.Engine != nil || c.state.Status != StatusCreated {
		return c.refuse("start")
	}
	if err := c.runHooks(); err != nil {
		return err
	}
	if err := l.page.Exec(); err != nil {
		return errors.Join(l.runError(err), c.stop())
	}
	c.state.Status, c.state.Started = StatusRunning, time.Now()
	if err := errors.Join(c.writeLaunch(), c.state.save()); err != nil { // while the kernel loads the command
		return errors.Join(err, c.stop())
	}
	if err := l.page.WaitExec(); err != nil {
		return errors.Join(l.runError(err), c.stop())
	}
	return nil
}

func (c *Container) runHooks() error {
	for _, h := range c.launched.hooks {
		if err := h.do(); err != nil {
			return errors.Join(asError(h.op, err), c.stop())
		}
	}
	return nil
}

// Wait waits for the end of the container's PID 1, and until all its output has been
// passed on. The status is the command's own, or 128+n when signal n ended it. Only
// the process that created the container can wait for it.
func (c *Container) Wait() (status int, err error) { return c.wait(nil) }

// wait is Wait, which stop ends while output is being passed on.
func (c *Container) wait(stop <-chan unix.Signal) (int, error) {
	l := c.launched
	if l == nil || l.process == nil {
		return 0, c.refuse("wait for")
	}
	if l.ended == nil {
		state, err := l.process.Wait()
		if state == nil {
			return 0, fmt.Errorf("wait for the container: %w", err)
		}
		l.ended, c.state.Status = state, StatusStopped
		c.noteEnd(exitStatus(state))
		l.o.Attach.hurry()
		if err := errors.Join(l.observer.stop(), l.others.end(), l.watcher.stop(), l.o.Record.stop()); err != nil {
			c.warn(err)
		}
	}
	lost := l.streams.drain(stop)
	l.streams.close()
	status := exitStatus(l.ended)
	l.o.Attach.finish(status)
	if lost != nil && status != 0 {
		c.warn(lost) // the command's own status says more
		return status, nil
	}
	return status, lost
}

// Kill sends a signal to the container's PID 1: to that process and to no other, even
// when its number has been given away again.
func (c *Container) Kill(sig unix.Signal) error {
	s, err := c.State()
	if err != nil {
		return err
	}
	stopped := &StateError{"signal", s.Name, StatusStopped}
	if s.Status != StatusCreated && s.Status != StatusRunning {
		stopped.Status = s.Status
		return stopped
	}
	init, err := s.open()
	if err == nil {
		defer init.pidfd.Close()
		err = init.signal(sig)
	}
	if err == nil && (sig == unix.SIGKILL || sig == s.Stop.Signal) && s.Owner == OwnerLauncher {
		err = c.thaw() // as dockerd does
	}
	switch {
	case errors.Is(err, unix.ESRCH):
		return stopped
	case err != nil:
		return fmt.Errorf("signal container %s: %w", s.Name, err)
	}
	return nil
}

// status is the container's, for the process that created it.
func (c *Container) status() Status {
	if c.state.PID != 0 && !c.state.alive() {
		return StatusStopped
	}
	return c.state.Status
}

func (c *Container) refuse(op string) error {
	status := c.state.Status
	if s, err := readState(c.dir); err == nil {
		status = s.Status
	}
	return &StateError{op, c.state.Name, status}
}
