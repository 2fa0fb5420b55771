package launcher

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/removeall"
)

// Dirs are where containers are kept while they run.
type Dirs struct {
	Root    string // ROOT/containers/NAME: the container's folder, on disk
	RunRoot string // RUNROOT/NAME: libcontainer's state
}

// Container is a name, a locked folder, and later a cgroup and processes.
type Container struct {
	dirs Dirs
	name string // of folder, state and cgroup
	id   string // 12 hexadecimal digits, the host name when there is no other
	dir  string
	lock *os.File
	warn func(error)
	// systemd says who keeps the cgroup; the file systemdMark tells a sweep.
	systemd bool
	// cgroupParent is the cgroup or slice to make the cgroup in, or "".
	cgroupParent string
}

// systemdMark is the file in a container's folder that says that its cgroup is
// a systemd scope.
const systemdMark = "systemd-scope"

// cgroupParentFile is the file in a container's folder that has its cgroupParent.
const cgroupParentFile = "cgroup-parent"

// runRootLink is the link in a container's folder to the RunRoot that it was
// started with: a sweep may come with another.
const runRootLink = "run-root"

// PrivateMounts gives the calling thread a mount namespace of its own whose
// mounts nobody else sees and which goes away with the thread. Mounts that the
// host makes later appear in it, for those of -v that are slave. The caller has
// locked itself to its thread (runtime.LockOSThread) and never unlocks it.
// Needs CAP_SYS_ADMIN (unshare(2)).
//
// The thread's umask becomes 022, whatever the user's: it decides who in the
// container may read what is made for it. dockerd has the same.
func PrivateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return &Error{Op: "make a mount namespace", Err: os.NewSyscallError("unshare", err), Help: "launching a container needs root: try sudo"}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	unix.Umask(0o022) // of this thread only: CLONE_NEWNS implies CLONE_FS (unshare(2))
	return nil
}

// Create makes and locks the folder of a new container. An empty name gets a
// random one. A name that a running container has is an [Error].
//
// What launchers that were killed have left is removed as well, whatever its name.
// What cannot be removed is passed to warn and does not keep the new container from
// starting; so is what Remove cannot remove.
func Create(dirs Dirs, name string, warn func(error)) (*Container, error) {
	c := &Container{dirs: dirs, name: name, id: randomID(), warn: warn}
	if name == "" {
		c.name = c.id
	} else if ok, _ := regexp.MatchString(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`, name); !ok {
		return nil, &Error{Op: "--name " + name, Err: errors.New("invalid container name"), Help: "a name is [a-zA-Z0-9][a-zA-Z0-9_.-]+"}
	}
	parent := filepath.Join(dirs.Root, "containers")
	if err := os.MkdirAll(parent, 0o711); err != nil {
		return nil, err
	}
	// Held while folders come and go, so that no sweep meets one without its lock.
	guard, err := flock.Open(parent, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	swept := c.sweep(parent)
	err = c.makeFolder(parent)
	guard.Close()
	for _, dead := range swept {
		dead.Remove() // this may take its time, so no other start waits for it
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func randomID() string {
	id := make([]byte, 6)
	rand.Read(id)
	return hex.EncodeToString(id)
}

// makeFolder makes and locks the container's folder.
func (c *Container) makeFolder(parent string) (err error) {
	c.dir = filepath.Join(parent, c.name)
	if err := os.Mkdir(c.dir, 0o711); errors.Is(err, os.ErrExist) {
		return &Error{Op: "--name " + c.name, Err: errors.New("the name is in use by a running container"), Help: "choose another name, or end that container"}
	} else if err != nil {
		return err
	}
	if c.lock, err = flock.Open(c.dir, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(err, os.Remove(c.dir))
	}
	if err := os.Symlink(c.dirs.RunRoot, filepath.Join(c.dir, runRootLink)); err != nil {
		c.Remove()
		return err
	}
	return nil
}

// ID is 12 hexadecimal digits, which no other container has.
func (c *Container) ID() string { return c.id }

// Dir is the container's own folder, locked until Remove.
func (c *Container) Dir() string { return c.dir }

// Remove removes the folder. The caller has unmounted what it mounted there. What
// cannot be removed is passed to warn, and is left to the next Create.
func (c *Container) Remove() {
	err := removeall.Remove(c.dir)
	c.lock.Close()
	if err != nil {
		c.warn(fmt.Errorf("remove container %s: %w", c.name, err))
	}
}

// cgroupsPath names the cgroup as the runtime spec wants it: a path, or
// SLICE:PREFIX:NAME for systemd.
func (c *Container) cgroupsPath() string {
	if c.systemd {
		return cmp.Or(c.cgroupParent, defaultSlice) + ":minirun:" + c.name
	}
	return path.Join("/", c.cgroupParent, "minirun-"+c.name) // no folder above it: none stays behind
}

// defaultSlice is where systemd keeps services.
const defaultSlice = "system.slice"

// cgroup is the same cgroup as cgroups.Manager wants it.
func (c *Container) cgroup() *cgroups.Cgroup {
	cg := &cgroups.Cgroup{Resources: &cgroups.Resources{}, Systemd: c.systemd}
	if c.systemd {
		cg.Parent, cg.ScopePrefix, cg.Name = cmp.Or(c.cgroupParent, defaultSlice), "minirun", c.name
	} else {
		cg.Path = c.cgroupsPath()
	}
	return cg
}
