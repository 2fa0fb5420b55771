package launcher

/*
#include "wait.h"
*/
import "C"

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
)

// ErrAmbiguous says that several containers have IDs that start with what was given.
var ErrAmbiguous = errors.New("several containers have IDs that start so")

// List returns the containers of a root, the newest first, except those of engines and
// those that do not exist for others yet. A container whose launcher was killed is
// among them; one that was to outlast its launcher has its processes ended first.
func List(dirs Dirs, warn func(error)) ([]*Container, error) {
	parent := filepath.Join(dirs.Root, "containers")
	entries, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var all []*Container
	for _, entry := range entries {
		c, err := Open(dirs, entry.Name(), warn)
		if err == nil && !c.state.engines() {
			err = c.survey()
		}
		switch {
		case errors.Is(err, os.ErrNotExist): // it has ended meanwhile, or is being made
		case err != nil:
			warn(err)
		case c.state.Owner == OwnerLauncher && c.state.Status != StatusCreating:
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b *Container) int { return b.state.Created.Compare(a.state.Created) })
	return all, nil
}

// Find finds a container as Docker does: by its ID, by its name, or by the start of
// its ID. The error wraps [os.ErrNotExist] if there is none, and [ErrAmbiguous] if
// several IDs start so.
func Find(dirs Dirs, name string, warn func(error)) (*Container, error) {
	name = strings.TrimPrefix(name, "/") // as 'docker inspect' prints names
	c, err := Open(dirs, name, warn)
	if err == nil && !c.state.engines() {
		return c, c.survey()
	}
	if errors.As(err, new(*DamagedError)) {
		return nil, err
	}
	all, err := List(dirs, warn)
	if err != nil {
		return nil, err
	}
	var found []*Container
	for _, c := range all {
		if name != "" && strings.HasPrefix(c.state.ID, name) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("container %s: %w", name, os.ErrNotExist)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("container %s: %w", name, ErrAmbiguous)
}

// survey reads the state, and finds out whether a container that does not run has lost
// its launcher. A lasting one of those becomes a stopped one.
func (c *Container) survey() error {
	for {
		s, err := readState(c.dir)
		if err != nil {
			return fmt.Errorf("container %s: %w", c.state.Name, err)
		}
		c.state = s
		runs := s.Status == StatusRunning && !c.Frozen() // a frozen one may not have died with its launcher
		if s.Owner != OwnerLauncher || runs || s.Status == StatusCreated || !s.Finished.IsZero() {
			return nil
		}
		lost, err := c.lost()
		if err != nil || !lost {
			return err
		}
		if !s.lasting() {
			c.state.Status, c.state.Lost, c.state.ExitCode = StatusStopped, true, statusKilled
			return nil
		}
	}
}

// lost reports whether a container's launcher is gone. A lasting one is settled then, and
// has to be read again.
func (c *Container) lost() (bool, error) {
	parent, err := flock.Open(filepath.Dir(c.dir), unix.LOCK_EX) // see New
	if err != nil {
		return false, err
	}
	defer parent.Close()
	dead, err := takeDead(filepath.Dir(c.dir), c.state.Name, c.state.RunRoot)
	if err != nil || dead == nil {
		return false, err
	}
	defer dead.unlock()
	switch {
	case dead.state.Status == StatusCreating:
		return false, os.ErrNotExist // a start that was killed; the next one removes it
	case dead.state.lasting():
		dead.warn = c.warn
		return true, dead.settle()
	}
	return true, nil
}

// Outlast has the container's state last when the launcher is killed. With keep it also
// stays when it has ended, until it is removed; detached says that the launcher is in the
// background.
func (c *Container) Outlast(detached, keep bool) error {
	inMemory := c.state.file()
	c.state.Detached, c.state.Keep = detached, keep
	if c.before != nil { // it does already, and is as it was until it runs
		return nil
	}
	if !c.state.lasting() {
		return nil
	}
	return errors.Join(c.state.save(), os.Remove(inMemory))
}

// describe notes what others can know of the container.
func (c *Container) describe(o *Options) {
	if o.Engine != nil {
		return
	}
	c.state.Image, c.state.Command = o.About.Image, o.Spec.Process.Args
	c.state.Stop = StopPolicy{stopSignal(o.Spec), o.Signals.StopSeconds}
}

// endAttribute is where the container's directory keeps the exit status. Whoever has the
// directory open can read it also when that has been removed: waiters do.
const endAttribute = C.END_ATTRIBUTE

// noteEnd tells waiters the exit status. Where the file system has no such attributes they
// learn only that the container has ended.
func (c *Container) noteEnd(status int) {
	c.state.ExitCode, c.state.Finished = status, time.Now()
	if c.lock == nil {
		return
	}
	value := []byte(strconv.Itoa(status))
	if unix.Fsetxattr(int(c.lock.Fd()), "trusted."+endAttribute, value, 0) != nil {
		_ = unix.Fsetxattr(int(c.lock.Fd()), "user."+endAttribute, value, 0)
	}
}

// notedEnd reads what noteEnd has written.
func notedEnd(dir *os.File) (int, bool) {
	value := make([]byte, 16)
	for _, space := range []string{"trusted.", "user."} {
		if n, err := unix.Fgetxattr(int(dir.Fd()), space+endAttribute, value); err == nil {
			status, err := strconv.Atoi(string(value[:n]))
			return status, err == nil
		}
	}
	return 0, false
}

// ErrLost says that a container ended because its launcher was killed.
var ErrLost = errors.New("its launcher was killed, and the container with it")

// WaitEnd waits, in any process, until the container has ended and its launcher is done
// with it. The status is the command's. The error is [ErrLost] if the launcher was killed,
// with the status 137, or ctx's.
func (c *Container) WaitEnd(ctx context.Context) (status int, err error) {
	dir, err := os.Open(c.dir)
	if err != nil {
		return 0, fmt.Errorf("wait for container %s: %w", c.state.Name, err)
	}
	locked := make(chan error, 1)
	go func() { locked <- flock.Lock(dir, unix.LOCK_SH) }()
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx) // dir stays open for the goroutine
	case err := <-locked:
		defer dir.Close()
		if err != nil {
			return 0, err
		}
	}
	if status, ok := notedEnd(dir); ok {
		return status, nil
	}
	path, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(dir.Fd()))) // it may have got another name
	s, err := readState(path)
	if err != nil || s.ID != c.state.ID {
		s = c.state
	} else if !s.Finished.IsZero() && !s.Lost || s.unstarted() {
		return s.ExitCode, nil
	}
	dir.Close() // a start that sweeps needs the lock
	return statusKilled, cmp.Or(s.awaitKilled(ctx), ErrLost)
}

// awaitKilled waits for the end of PID 1 of a killed launcher, which the guard kills. It
// waits no longer than for any killed process, since a frozen one lives on.
func (s *State) awaitKilled(ctx context.Context) error {
	init, err := s.open()
	if err != nil {
		return nil // it has ended
	}
	defer init.pidfd.Close()
	_, err = init.endsBefore(ctx, patienceWithKilled)
	return err
}

// defaultStop is how long a container has between the signal and SIGKILL, as with Docker.
const defaultStop = 10

// Halt asks the container to end, and ends it if it has not within the time that the
// policy gives. It returns when PID 1 has ended. A container that does not run is no error.
func (c *Container) Halt(ctx context.Context, p StopPolicy) error {
	p.Signal = cmp.Or(p.Signal, c.state.Stop.Signal, unix.SIGTERM)
	seconds := defaultStop
	if given := cmp.Or(p.Seconds, c.state.Stop.Seconds); given != nil {
		seconds = *given
	}
	init, err := c.state.open()
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop container %s: %w", c.state.Name, err)
	}
	defer init.pidfd.Close()
	patience := time.Duration(seconds) * time.Second
	for _, step := range []struct {
		signal   unix.Signal
		patience time.Duration
	}{{p.Signal, patience}, {unix.SIGKILL, 10 * time.Second}} {
		err := init.signal(step.signal)
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		if err == nil {
			err = c.thaw()
		}
		if err != nil {
			return fmt.Errorf("stop container %s: %w", c.state.Name, err)
		}
		if ended, err := init.endsBefore(ctx, step.patience); ended || err != nil {
			return err
		}
	}
	return fmt.Errorf("stop container %s: process %d does not die", c.state.Name, init.pid)
}

// endsBefore is endsWithin, which ctx ends with an error. A negative limit is none.
func (p *initProcess) endsBefore(ctx context.Context, limit time.Duration) (bool, error) {
	deadline := time.Now().Add(limit)
	for {
		step := 100 * time.Millisecond // of looking at ctx
		if limit >= 0 {
			step = min(step, max(time.Until(deadline), 0))
		}
		switch {
		case p.endsWithin(step):
			return true, nil
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case limit >= 0 && !time.Now().Before(deadline):
			return false, nil
		}
	}
}
