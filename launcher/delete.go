package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/removeall"
)

// Delete removes a container that does not run: the processes that are left, the cgroup,
// libcontainer's state and the directory, in which the caller has nothing mounted any
// more. It is no error if the container has been deleted already. The error is [ErrOwned]
// for a container whose launcher is alive: only the launcher deletes it.
func (c *Container) Delete() error {
	if c.lock == nil {
		var found bool
		err := patiently(func() (err error) {
			found, err = c.relock()
			return err
		})
		if err != nil || !found {
			return err
		}
	}
	if c.launched != nil {
		if c.status() == StatusRunning {
			return c.refuse("delete")
		}
		c.discard()
	}
	if err := c.endSupervisor(); err != nil {
		c.warn(err)
	}
	return c.removeDir()
}

// DeleteDamaged removes a container whose state cannot be read, and what is in the cgroup
// that it has unless flags said otherwise. The error is [ErrOwned] if its launcher is alive.
func DeleteDamaged(dirs Dirs, name string) error {
	return patiently(func() error { return deleteDamaged(dirs, name) })
}

func deleteDamaged(dirs Dirs, name string) error {
	parent := filepath.Join(dirs.Root, "containers")
	guard, err := flock.Open(parent, unix.LOCK_EX) // see New
	if err != nil {
		return err
	}
	defer guard.Close()
	lock, err := flock.Open(filepath.Join(parent, name), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("delete container %s: %w", name, ErrOwned)
	}
	if err != nil {
		return err
	}
	c := &Container{dir: lock.Name(), lock: lock, warn: func(error) {}, state: State{Name: name, RunRoot: dirs.RunRoot, dir: lock.Name()}}
	c.state.guessID()
	if err := c.end(); err != nil {
		c.unlock()
		return err
	}
	return c.removeDir()
}

// Finish is what the launcher of a container that is to stay (--rm=false) does instead of
// Delete: only the directory is left, and says how the container has ended.
func (c *Container) Finish() error {
	c.discard()
	c.giveIDsBack()
	c.state.Status = StatusStopped
	return c.leave()
}

// leave saves the state of a container that stays, and no longer owns it.
func (c *Container) leave() error {
	guard, err := c.settleName()
	if err == nil {
		err = c.state.save()
		guard.Close()
	}
	c.unlock()
	if err != nil {
		return fmt.Errorf("keep container %s: %w", c.state.Name, err)
	}
	return nil
}

// patienceWithLookers is how long others may look at a container that has ended.
const patienceWithLookers = time.Second

// patiently tries again while the error is [ErrOwned]: who only looks at a container has its
// lock for a moment. Between two tries nothing may be locked.
func patiently(try func() error) error {
	for deadline := time.Now().Add(patienceWithLookers); ; time.Sleep(5 * time.Millisecond) {
		err := try()
		if !errors.Is(err, ErrOwned) || time.Now().After(deadline) {
			return err
		}
	}
}

// relock takes the lock of a container that is not this process's, and ends what is
// left of it. It reports false when the container does not exist any more.
func (c *Container) relock() (found bool, err error) {
	parent, err := flock.Open(filepath.Dir(c.dir), unix.LOCK_EX) // see New
	if err != nil {
		return false, err
	}
	defer parent.Close()
	lock, err := flock.Open(c.dir, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, fmt.Errorf("delete container %s: %w", c.state.Name, ErrOwned)
	case err != nil:
		return false, err
	}
	c.lock = lock
	now, err := readState(c.dir)
	switch {
	case err != nil:
	case now.ID != c.state.ID: // another container has got the name
		c.unlock()
		return false, nil
	case c.launched != nil:
	case now.Status == StatusRunning:
		err = c.refuse("delete")
	default:
		err = c.end()
	}
	if err != nil {
		c.unlock()
	}
	return true, err
}

func (c *Container) unlock() {
	c.lock.Close()
	c.lock = nil
}

// stop ends an init that is not to go on.
func (c *Container) stop() error {
	l := c.launched
	if l.process == nil || l.ended != nil {
		return nil
	}
	if err := l.process.Signal(unix.SIGKILL); err != nil {
		return err
	}
	state, err := l.process.Wait()
	if state != nil {
		l.ended, c.state.Status = state, StatusStopped
		return nil
	}
	return err
}

// discard gives up all that this process holds of a container and removes what it has
// made, except for the directory. What cannot be removed is a warning.
func (c *Container) discard() {
	l := c.launched
	if l.discarded {
		return
	}
	l.discarded = true
	err := errors.Join(c.stop(), l.observer.stop(), l.others.end(), l.watcher.stop(), l.o.Record.stop())
	if l.guard != nil {
		l.guard.stop()
	}
	if l.init != nil {
		l.init.pidfd.Close()
	}
	if l.streams != nil {
		l.streams.close()
	}
	if l.page != nil {
		l.page.Close()
	}
	l.closePlan()
	if c.ids != nil {
		c.ids.Close()
	}
	if l.reaper != nil {
		l.reaper.Close()
	}
	if l.network != nil {
		err = errors.Join(err, l.network.Close())
	}
	if l.made {
		err = errors.Join(err, l.cgroup.kill(l.o.Spec))
	}
	if l.o.Engine != nil && l.container == nil && !l.handedOver { // what handOver has begun
		err = errors.Join(err, removeall.Remove(filepath.Join(c.state.RunRoot, c.state.Name)))
	}
	if l.container == nil && l.handedOver { // what ends it is libcontainer's code, whatever has set it up
		container, lerr := c.load()
		l.container, err = container, errors.Join(err, lerr)
	}
	if l.container != nil {
		err = errors.Join(err, l.container.Destroy())
	}
	if l.made {
		err = errors.Join(err, l.cgroup.remove())
	}
	if err != nil {
		c.warn(fmt.Errorf("remove container %s: %w", c.state.Name, err))
	}
}
