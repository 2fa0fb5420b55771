package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/removeall"
)

// sweep ends the containers whose launcher no longer holds its lock, and frees their
// names. It returns what is left of them: folders, which the caller removes. What
// fails is passed to warn; the sweep goes on with the next container.
//
// The caller holds the lock of parent.
func (c *Container) sweep(parent string) (swept []*Container) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		c.warn(fmt.Errorf("look for containers of killed launchers: %w", err))
	}
	for _, entry := range entries {
		dead, err := c.takeDead(parent, entry.Name())
		if err == nil && dead != nil {
			err = dead.end()
		}
		switch {
		case err != nil:
			c.warn(fmt.Errorf("remove container %s of a killed launcher: %w", entry.Name(), err))
			if dead != nil {
				dead.lock.Close()
			}
		case dead != nil:
			swept = append(swept, dead)
		}
	}
	return swept
}

// takeDead locks the folder of a container and returns the container, or nil if
// its launcher lives.
func (c *Container) takeDead(parent, name string) (*Container, error) {
	dir := filepath.Join(parent, name)
	lock, err := flock.Open(dir, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dead := &Container{dirs: c.dirs, name: name, dir: dir, lock: lock, warn: c.warn}
	if runRoot, err := os.Readlink(filepath.Join(dir, runRootLink)); err == nil {
		dead.dirs.RunRoot = runRoot
	}
	if parent, err := os.ReadFile(filepath.Join(dir, cgroupParentFile)); err == nil {
		dead.cgroupParent = string(parent)
	}
	if _, err := os.Stat(filepath.Join(dir, systemdMark)); err == nil {
		dead.systemd = true
	}
	return dead, nil
}

// end kills the processes that outlived their launcher, removes the cgroup and the
// state, and gives the folder a name that no other container can have.
func (c *Container) end() error {
	cm, err := manager.New(c.cgroup())
	if err != nil {
		return err
	}
	if err := killAll(cm); err != nil {
		return err
	}
	if err := cm.Destroy(); err != nil {
		return err
	}
	if err := removeall.Remove(filepath.Join(c.dirs.RunRoot, c.name)); err != nil {
		return err
	}
	dir := filepath.Join(filepath.Dir(c.dir), "."+randomID())
	if err := os.Rename(c.dir, dir); err != nil {
		return err
	}
	c.dir = dir
	return nil
}

// killAll kills what is in a cgroup until nothing is.
func killAll(cm cgroups.Manager) error {
	deadline := time.Now().Add(10 * time.Second)
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
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not die", pids)
		}
		time.Sleep(time.Millisecond)
	}
}
