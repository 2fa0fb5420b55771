package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
)

// ErrInvalidName says that a container cannot have a name.
var ErrInvalidName = errors.New("invalid container name")

// ErrSameName says that a container has a name already.
var ErrSameName = errors.New("it has that name already")

// Rename gives a container that has ended, and stays, another name. The error wraps
// [ErrInvalidName], [ErrSameName] or [ErrNameInUse] for a name that it cannot have, and
// [ErrOwned] while its launcher is at work, which knows it by its directory.
//
// Whenever this process is killed the container has the old name or the new one.
func (c *Container) Rename(name string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("rename container %s: %w", c.state.Name, err)
		}
	}()
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
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrOwned
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	s, err := readState(c.dir)
	if err != nil {
		return err
	}
	if s.ID != c.state.ID || !s.lasting() { // another has got the name, or the next start removes it
		return os.ErrNotExist
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
