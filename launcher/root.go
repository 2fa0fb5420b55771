package launcher

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
)

// OpenRoot opens the root directory of a running container's PID 1 with O_PATH. Its content
// is untrusted: look paths up with openat2(2) and RESOLVE_IN_ROOT. The error is a
// [StateError] if the container does not run.
func (c *Container) OpenRoot() (*os.File, error) {
	if c.state.Status != StatusRunning {
		return nil, c.refuse("open the root of")
	}
	root, err := os.OpenFile(path.Join("/proc", strconv.Itoa(c.state.PID), "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, c.failed("open the root of", err)
	}
	if !c.state.alive() { // then the root may be another process's
		root.Close()
		return nil, c.refuse("open the root of")
	}
	return root, nil
}

// RootIDs returns the user and group, in this process's user namespace, that root has in a
// running container.
func (c *Container) RootIDs() (uid, gid int, err error) {
	for file, id := range map[string]*int{"uid_map": &uid, "gid_map": &gid} {
		lines, err := user.ParseIDMapFile(path.Join("/proc", strconv.Itoa(c.state.PID), file))
		if err != nil {
			return 0, 0, c.failed("read the users of", err)
		}
		for _, l := range lines {
			if l.ID == 0 {
				*id = int(l.ParentID)
			}
		}
	}
	if !c.state.alive() { // then the maps may be another process's
		return 0, 0, c.refuse("read the users of")
	}
	return uid, gid, nil
}

// Hold keeps a container that has ended from being removed until release is called. The
// error is [ErrOwned] if its launcher, or another process, holds the lock.
func (c *Container) Hold() (release func(), err error) {
	var lock *os.File
	err = patiently(func() error {
		lock, err = flock.Open(c.dir, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("container %s: %w", c.state.Name, ErrOwned)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return func() { lock.Close() }, nil
}
