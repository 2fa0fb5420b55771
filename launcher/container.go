package launcher

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"
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
	// systemd says who keeps the cgroup; the file systemdMark tells a sweep.
	systemd bool
}

// systemdMark is the file in a container's folder that says that its cgroup is
// a systemd scope.
const systemdMark = "systemd-scope"

// runRootLink is the link in a container's folder to the RunRoot that it was
// started with: a sweep may come with another.
const runRootLink = "run-root"

// PrivateMounts gives the calling thread a mount namespace of its own whose
// mounts nobody else sees and which goes away with the thread. The caller has
// locked itself to its thread (runtime.LockOSThread) and never unlocks it.
// Needs CAP_SYS_ADMIN (unshare(2)).
func PrivateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return &Error{Op: "make a mount namespace", Err: os.NewSyscallError("unshare", err), Help: "launching a container needs root: try sudo"}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	return nil
}

// Create makes and locks the folder of a new container. An empty name gets a
// random one. A name that a running container has is an [Error]. What launchers
// that were killed have left is removed first, whatever the name.
func Create(dirs Dirs, name string) (*Container, error) {
	id := make([]byte, 6)
	rand.Read(id)
	c := &Container{dirs: dirs, name: name, id: hex.EncodeToString(id)}
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
	guard, err := lockDir(parent, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	if err := sweep(dirs, parent); err != nil {
		return nil, fmt.Errorf("remove what a killed launcher left: %w", err)
	}
	c.dir = filepath.Join(parent, c.name)
	if err := os.Mkdir(c.dir, 0o711); errors.Is(err, os.ErrExist) {
		return nil, &Error{Op: "--name " + c.name, Err: errors.New("the name is in use by a running container"), Help: "choose another name, or end that container"}
	} else if err != nil {
		return nil, err
	}
	if c.lock, err = lockDir(c.dir, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, os.Remove(c.dir))
	}
	if err := os.Symlink(dirs.RunRoot, filepath.Join(c.dir, runRootLink)); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

// Dir is the container's own folder, locked until Remove.
func (c *Container) Dir() string { return c.dir }

// Remove removes the folder. The caller has unmounted what it mounted there.
func (c *Container) Remove() error {
	err := os.RemoveAll(c.dir)
	return errors.Join(err, c.lock.Close())
}

// lockDir opens a folder and locks it with flock(2); the lock goes with the
// last copy of the file, thus with the process, however it ends.
func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return f, nil
}

// sweep removes the containers whose launcher no longer holds its lock.
func sweep(dirs Dirs, parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		dir := filepath.Join(parent, entry.Name())
		lock, err := lockDir(dir, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		dead := &Container{dirs: dirs, name: entry.Name(), dir: dir, lock: lock}
		if runRoot, err := os.Readlink(filepath.Join(dir, runRootLink)); err == nil {
			dead.dirs.RunRoot = runRoot
		}
		if _, err := os.Stat(filepath.Join(dir, systemdMark)); err == nil {
			dead.systemd = true
		}
		if err := dead.bury(); err != nil {
			return err
		}
	}
	return nil
}

// bury removes a dead launcher's container: processes that outlived it, for a
// program with file capabilities loses the parent-death signal (prctl(2)),
// then cgroup, state and folder.
func (c *Container) bury() error {
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
	if err := os.RemoveAll(filepath.Join(c.dirs.RunRoot, c.name)); err != nil {
		return err
	}
	return c.Remove()
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

// cgroupsPath names the cgroup as the runtime spec wants it: a path, or
// SLICE:PREFIX:NAME for systemd.
func (c *Container) cgroupsPath() string {
	if c.systemd {
		return "system.slice:minirun:" + c.name
	}
	return "/minirun-" + c.name // no folder above it: none stays behind
}

// cgroup is the same cgroup as cgroups.Manager wants it.
func (c *Container) cgroup() *cgroups.Cgroup {
	cg := &cgroups.Cgroup{Resources: &cgroups.Resources{}, Systemd: c.systemd}
	if c.systemd {
		cg.Parent, cg.ScopePrefix, cg.Name = "system.slice", "minirun", c.name
	} else {
		cg.Path = c.cgroupsPath()
	}
	return cg
}
