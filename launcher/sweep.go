package launcher

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/removeall"
)

// sweepCount is how many containers a start looks at, so that a start is not slower where
// hundreds run. The first one is random, so that over several starts all are looked at.
const sweepCount = 16

// someContainers returns the names of up to sweepCount containers.
func someContainers(parent string) ([]string, error) {
	dir, err := os.Open(parent)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if len(names) <= sweepCount {
		return names, err
	}
	first := rand.IntN(len(names))
	return slices.Concat(names[first:], names[:first])[:sweepCount], err
}

// sweep ends the named containers whose launcher was killed, that is, no longer holds its
// lock. A container that stays after its end ([State.lasting]) is settled: it becomes a
// stopped one. The names of the others are freed, and the caller removes the directories
// that are returned. Containers without a launcher ([OwnerNobody]) are left alone. Errors
// are passed to warn, and the sweep goes on with the next container.
//
// The caller holds the lock of parent. runRoot is where libcontainer's state is if the
// directory does not say so.
func sweep(parent string, names []string, runRoot string, warn func(error)) (swept []*Container) {
	for _, name := range names {
		dead, err := takeDead(parent, name, runRoot)
		lasting := err == nil && dead != nil && dead.state.lasting() && dead.state.Status != StatusCreating && !isAway(name)
		switch {
		case isAway(name): // all but the directory has been removed
		case lasting:
			err = dead.settle()
			dead.unlock()
		case err == nil && dead != nil:
			err = dead.end()
		}
		switch {
		case err != nil && lasting:
			warn(fmt.Errorf("end container %s of a killed launcher: %w", name, err))
		case err != nil:
			warn(fmt.Errorf("remove container %s of a killed launcher: %w", name, err))
			if dead != nil {
				dead.lock.Close()
			}
		case dead != nil && !lasting:
			swept = append(swept, dead)
		}
	}
	return swept
}

// takeDead locks the directory of a container and returns the container, or nil if there
// is nothing to sweep: its launcher is alive, it needs none, or it has been ended properly.
func takeDead(parent, name, runRoot string) (*Container, error) {
	dir := filepath.Join(parent, name)
	if leftToC(dir) && !isAway(name) { // an engine may have hundreds, whose states would be read by each start
		return nil, nil
	}
	lock, err := flock.Open(dir, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	state, err := readState(dir)
	damaged := errors.As(err, new(*DamagedError)) // a missing state is no damage: the launcher was killed before it wrote one
	switch {
	case isAway(name) && damaged:
		state = State{dir: dir}
	case isAway(name):
	case damaged:
		lock.Close()
		return nil, err
	case state.Owner == OwnerNobody && state.Status != StatusCreating || !state.Finished.IsZero() || state.unstarted():
		lock.Close()
		return nil, nil
	}
	if errors.Is(err, os.ErrNotExist) {
		state.readLink()
	}
	state.Name, state.RunRoot = name, cmp.Or(state.RunRoot, runRoot)
	return &Container{dir: dir, lock: lock, state: state, warn: func(error) {}}, nil
}

// end ends what is left of a container that this process did not create, and gives the
// directory a name that no other container can have.
func (c *Container) end() error {
	if err := c.endProcesses(); err != nil {
		return err
	}
	return c.renameAway()
}

// endProcesses kills the processes of a container that this process did not create, and
// removes the cgroup and libcontainer's state.
func (c *Container) endProcesses() error {
	if c.state.engines() {
		return c.endEngine()
	}
	if c.state.ID == "" { // its launcher was killed before it had made more than the directory
		return nil
	}
	if err := c.state.kill(c.thaw); err != nil { // it may have no cgroup
		return err
	}
	if err := c.endCgroup(); err != nil {
		return err
	}
	return removeall.Remove(filepath.Join(c.state.RunRoot, c.state.key()))
}

// endCgroup kills what PID 1 has left in the cgroup, and removes the cgroup.
func (c *Container) endCgroup() error {
	cm, err := c.manager()
	if errors.Is(err, ErrNoCgroup) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := killAll(cm); err != nil {
		return err
	}
	return cm.Destroy()
}

// settle ends what is left of a container that stays after its end and whose launcher was
// killed. Its state becomes [StatusStopped], with the exit status if one was noted.
func (c *Container) settle() error {
	if err := c.endProcesses(); err != nil {
		return err
	}
	c.giveIDsBack()
	c.state.Status, c.state.Lost, c.state.Finished = StatusStopped, true, time.Now()
	var ok bool
	if c.state.ExitCode, ok = notedEnd(c.lock); !ok {
		c.state.ExitCode = statusKilled
	}
	return c.state.save()
}

// statusKilled is 128+SIGKILL: a guard ends the container of a launcher that was killed.
const statusKilled = 137

// renameAway gives the directory a name that no container can have. From then on others
// may use its name, and it is only to be removed.
func (c *Container) renameAway() error {
	dir := filepath.Join(filepath.Dir(c.dir), "."+randomDigits(12))
	if err := os.Rename(c.dir, dir); err != nil {
		return err
	}
	c.dir, c.state.dir = dir, dir
	return nil
}

// giveNameUp is renameAway for a container that others may rename meanwhile.
func (c *Container) giveNameUp() error {
	if isAway(filepath.Base(c.dir)) {
		return nil
	}
	guard, err := c.settleName()
	if err != nil {
		return err
	}
	defer guard.Close()
	if err := c.renameAway(); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil // somebody has removed it
}

// patienceWithKilled is how long the end of a killed process may take.
const patienceWithKilled = 10 * time.Second

func isAway(name string) bool { return name[0] == '.' }

// killAll kills the processes in a cgroup until none is left. It waits for their ends by
// pidfds, which works with both versions of cgroups: only v2 has cgroup.events.
func killAll(cm cgroups.Manager) error {
	deadline := time.Now().Add(patienceWithKilled)
	for {
		pids, err := cm.GetAllPids()
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || err == nil && len(pids) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return fmt.Errorf("kill %d: %w", pid, err)
			}
		}
		first, err := openPID(pids[0])
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return err
		}
		ended := first.endsWithin(time.Until(deadline))
		first.pidfd.Close()
		if !ended {
			return fmt.Errorf("processes %v do not die", pids)
		}
	}
}
