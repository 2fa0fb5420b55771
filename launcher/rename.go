package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
)

// ErrInvalidName says that a container cannot have a name.
var ErrInvalidName = errors.New("invalid container name")

// ErrSameName says that a container has a name already.
var ErrSameName = errors.New("it has that name already")

// LauncherDir returns a path of the container's directory for its launcher, and for the program
// that this becomes: it stays right when the container gets another name.
func (c *Container) LauncherDir() string {
	return "/proc/self/fd/" + strconv.Itoa(int(c.lock.Fd()))
}

// settleName finds out which name the container of this launcher has now. It does not change
// while the lock is held that is returned.
func (c *Container) settleName() (*os.File, error) {
	guard, err := flock.Open(filepath.Dir(c.dir), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	path, err := os.Readlink(c.LauncherDir())
	if err != nil {
		guard.Close()
		return nil, err
	}
	c.state.Name, c.state.NextName = filepath.Base(path), ""
	c.dir = filepath.Join(filepath.Dir(c.dir), c.state.Name)
	c.state.dir = c.dir
	return guard, nil
}

// Rename gives a container that runs, or stays, another name. The error wraps [ErrInvalidName],
// [ErrSameName] or [ErrNameInUse] for a name that it cannot have, and [ErrOwned] while a process
// starts or ends it.
//
// Whenever this process is killed the container has the old name or the new one.
func (c *Container) Rename(name string) error {
	err := patiently(func() error { return c.rename(name) })
	if err != nil {
		return fmt.Errorf("rename container %s: %w", c.state.Name, err)
	}
	return nil
}

func (c *Container) rename(name string) error {
	switch {
	case !isName(name):
		return ErrInvalidName
	case name == c.state.Name:
		return ErrSameName
	}
	parent := filepath.Dir(c.dir)
	guard, err := flock.Open(parent, unix.LOCK_EX) // see New
	if err != nil {
		return err
	}
	defer guard.Close()
	lock, err := flock.Open(c.dir, unix.LOCK_EX|unix.LOCK_NB)
	owned := errors.Is(err, unix.EWOULDBLOCK)
	if err != nil && !owned {
		return err
	}
	defer lock.Close()
	s, err := readState(c.dir)
	switch {
	case err != nil:
		return err
	case s.ID != c.state.ID, !owned && !s.lasting(): // another has got the name, or the next start removes it
		return os.ErrNotExist
	case owned && s.Status != StatusRunning:
		return ErrOwned
	}
	to := filepath.Join(parent, name)
	if _, err := os.Lstat(to); !errors.Is(err, os.ErrNotExist) {
		for _, dead := range sweep(parent, []string{name}, s.RunRoot, c.warn) {
			if err := dead.removeDir(); err != nil {
				c.warn(err)
			}
		}
	}
	if _, err := os.Lstat(to); !errors.Is(err, os.ErrNotExist) {
		return ErrNameInUse
	}
	s.NextName = name
	if err := s.save(); err != nil {
		return err
	}
	if err := os.Rename(c.dir, to); err != nil {
		return err
	}
	s.Name, s.NextName, s.dir = name, "", to
	c.dir, c.state = to, s
	return s.save()
}
