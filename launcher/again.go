package launcher

/*
#include "wait.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/launcher/config"
)

// Again is what a container that stays is launched from another time, beside [About.Flags].
type Again struct {
	Flags       config.Flags `json:"flags,omitempty"` // those of the launch that are not about the container, with their values
	Environment []string     `json:"env,omitempty"`
	Labels      []string     `json:"labels,omitempty"`
	Args        []string     `json:"args,omitempty"`     // what followed the image
	Digest      string       `json:"digest,omitempty"`   // of the image's manifest; "" for one that is not in the store
	Attached    bool         `json:"attached,omitempty"` // the first launch was not to be in the background
}

// Keep makes a new container one that is created, and waits for its first start: its owner
// goes, and its directory stays. o is what it is to be launched with.
func (c *Container) Keep(o Options) error {
	c.launched = &launched{o: o, discarded: true}
	c.describe(&o)
	c.state.Created = time.Now()
	if err := c.writeLaunch(); err != nil {
		return fmt.Errorf("keep container %s: %w", c.state.Name, err)
	}
	c.state.Status = StatusCreated
	if err := c.state.save(); err != nil {
		return fmt.Errorf("keep container %s: %w", c.state.Name, err)
	}
	c.giveIDsBack()
	c.unlock()
	return nil
}

// unstarted reports whether a container waits for its first start.
func (s *State) unstarted() bool { return s.Status == StatusCreated && s.PID == 0 }

// Unstarted reports whether a container was created, and has never been started.
func (s State) Unstarted() bool { return s.unstarted() }

// patienceWithOthers is how long a container that is to be started waits for others that
// look at it, or for its last launcher to be done.
const patienceWithOthers = 10 * time.Second

// Reopen takes a container that does not run, and is kept, to be launched another time: as
// [New] does a new one. Until its init exists others see it as it has ended, also when this
// process is killed. The error is a [StateError] if it runs, and wraps [ErrOwned] if another
// process is at work on it.
func (c *Container) Reopen(ctx context.Context) error {
	for deadline := time.Now().Add(patienceWithOthers); ; {
		lock, err := flock.Open(c.dir, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			c.lock = lock
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("start container %s: %w", c.state.Name, err)
		}
		if s, err := readState(c.dir); err == nil && s.Status == StatusRunning {
			return &StateError{"start", s.Name, s.Status}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("start container %s: %w", c.state.Name, ErrOwned)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	err := c.reopen()
	if err != nil {
		c.unlock()
	}
	return err
}

func (c *Container) reopen() error {
	s, err := readState(c.dir)
	switch {
	case err != nil:
		return fmt.Errorf("start container %s: %w", c.state.Name, err)
	case s.ID != c.state.ID || !s.lasting():
		return fmt.Errorf("container %s: %w", c.state.Name, os.ErrNotExist)
	case s.Status == StatusRunning:
		return &StateError{"start", s.Name, s.Status}
	}
	c.state = s
	if s.Finished.IsZero() && !s.unstarted() { // its launcher was killed
		if err := c.settle(); err != nil {
			return err
		}
	} else if err := c.endProcesses(); err != nil { // a start that was killed may have left a cgroup
		return err
	}
	c.giveIDsBack() // which it has, too
	before := c.state
	c.before = &before
	return nil
}

// begins has the state be that of a run, and not of one that has ended.
func (c *Container) begins() {
	if c.before == nil {
		c.state.Created = time.Now()
		return
	}
	for _, space := range []string{"trusted.", "user."} {
		_ = unix.Fremovexattr(int(c.lock.Fd()), space+endAttribute) // there may be none
	}
	c.state.Finished, c.state.ExitCode, c.state.Lost = time.Time{}, 0, false
}

// GiveUp is what is done instead of [Container.Delete] with a container that was reopened,
// and did not start: it is again as it was before.
func (c *Container) GiveUp() error {
	if c.launched != nil {
		c.discard()
	}
	c.giveIDsBack()
	c.state = *c.before
	return c.leave()
}

// restartFile is a file in the container's directory. Who restarts a container that is to go
// when it ends holds a lock on it.
const restartFile = C.RESTART_FILE

// HoldForRestart has the launcher of a container that is to go when it ends leave the
// container to be started again, until release is called or this process ends.
func (c *Container) HoldForRestart() (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, restartFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		if err = flock.Lock(f, unix.LOCK_SH); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("restart container %s: %w", c.state.Name, err)
	}
	return func() { f.Close() }, nil
}

// HeldForRestart reports, to its launcher, whether a process is about to start the container again.
func (c *Container) HeldForRestart() bool {
	f, err := flock.Open(filepath.Join(c.LauncherDir(), restartFile), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

// LaunchedFilter sets the filter of o to the one that the container was launched with.
func (l *Launch) LaunchedFilter(o *Options) {
	o.Filter, o.FilterFlags = programOf(l.Filter), l.FilterFlags
	o.Enter, o.EnterFlags = o.Filter, o.FilterFlags
	if l.Agent != nil {
		o.Agent = &Agent{Path: l.Agent.Path, Metadata: l.Agent.Metadata}
	}
}
