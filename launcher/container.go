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
	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/removeall"
	"github.com/minirun/minirun/launcher/userns"
)

// Dirs are where containers are kept.
type Dirs struct {
	Root    string // ROOT/containers/NAME: the container's directory, on disk
	RunRoot string // RUNROOT/NAME: libcontainer's state; RUNROOT/.ID.json, with 12 digits: minirun's
}

// Container is a container of this machine: one that this process makes ([New]), or
// one that exists already ([Open]).
//
//	New ─► creating ─ Create ─► created ─ Start ─► running ─ its PID 1 ends ─► stopped
//
// Kill and the end of its owner lead from created or running to stopped. Delete is possible
// in each status except running. A method that the container's status does not allow
// returns a [StateError].
//
// A Container must not be used by several goroutines at a time, except for Kill and State.
type Container struct {
	dir   string
	lock  *os.File // on the directory; held by the launcher, or while another process changes the container
	state State    // as far as this process knows; see State
	warn  func(error)
	ids   *userns.Namespace // its own users and groups, or nil: those of this process's namespace

	launched *launched // what the process that created it holds
	before   *State    // of a container that is started again: how it had ended
}

// PrivateMounts gives the calling thread a mount namespace of its own. Its mounts are
// invisible to all others, and end with the thread. Mounts that the host makes later
// appear in it, for binds with slave propagation. The caller must have locked itself to
// its thread (runtime.LockOSThread), and must never unlock it. It needs CAP_SYS_ADMIN
// (unshare(2)).
//
// The thread's umask becomes 022, as dockerd's: it decides who in the container may read
// the files that are made for it.
func PrivateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return hint.With(&Error{Op: "make a mount namespace", Err: os.NewSyscallError("unshare", err)}, "launching a container needs root: try sudo")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	unix.Umask(0o022) // of this thread only: CLONE_NEWNS implies CLONE_FS (unshare(2))
	return nil
}

// New makes and locks the directory of a new container. An empty name stands for a random
// one of two words, such as calm_otter. If another container has the name, the error is an
// [Error] that wraps [ErrNameInUse].
//
// New also removes what killed launchers have left behind; where many containers run it
// looks only at some of them. If this fails, warn gets the error and the new container is
// made nevertheless. Later methods pass warn what they could do only in part.
func New(dirs Dirs, name string, owner Owner, warn func(error)) (*Container, error) {
	c := &Container{warn: warn, state: State{Name: name, ID: randomDigits(64), Owner: owner, Status: StatusCreating, RunRoot: dirs.RunRoot}}
	if name == "" {
		c.state.Name = randomName()
	} else if !isName(name) && (owner != OwnerNobody || !isID(name)) {
		return nil, hint.With(&Error{Op: "--name " + name, Err: errors.New("invalid container name")}, "a name is "+namePattern)
	}
	err := makeRunRoot(dirs.RunRoot)
	if err == nil && owner != OwnerNobody { // an engine's is a directory in the root that it has chosen
		err = markRunRoot(dirs.RunRoot)
	}
	if err != nil {
		return nil, &Error{Op: "create container", Err: err, Cause: CauseRunRoot}
	}
	parent := filepath.Join(dirs.Root, "containers")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	// Held while directories come and go, so that no sweep meets one without its lock.
	guard, err := flock.Open(parent, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	names, err := someContainers(parent)
	if err != nil {
		warn(fmt.Errorf("look for containers of killed launchers: %w", err))
	}
	swept := sweep(parent, names, dirs.RunRoot, warn)
	err = c.makeDir(parent)
	for tries := 0; name == "" && errors.Is(err, ErrNameInUse); tries++ {
		c.state.Name = randomName()
		if tries >= 5 {
			c.state.Name += "_" + c.state.shortID()
		}
		err = c.makeDir(parent)
	}
	if errors.Is(err, ErrNameInUse) {
		if dead := sweep(parent, []string{name}, dirs.RunRoot, warn); len(dead) > 0 {
			swept = append(swept, dead...)
			err = c.makeDir(parent)
		}
	}
	guard.Close()
	for _, dead := range swept {
		if err := dead.removeDir(); err != nil { // slow, so other starts do not wait for it
			warn(err)
		}
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

const namePattern = `[a-zA-Z0-9][a-zA-Z0-9_.-]+`

func isName(name string) bool {
	ok, _ := regexp.MatchString("^"+namePattern+"$", name)
	return ok
}

// isID reports whether an engine may give a container that name: letters, digits and
// _+-. as with runc. Names that start with a dot are minirun's own directories.
func isID(name string) bool {
	ok, _ := regexp.MatchString(`^[a-zA-Z0-9_+-][a-zA-Z0-9_+.-]*$`, name)
	return ok && len(name) <= unix.NAME_MAX
}

// randomDigits returns n hexadecimal digits; n is even.
func randomDigits(n int) string {
	id := make([]byte, n/2)
	rand.Read(id)
	return hex.EncodeToString(id)
}

// makeDir makes and locks the container's directory.
func (c *Container) makeDir(parent string) (err error) {
	c.dir = filepath.Join(parent, c.state.Name)
	c.state.dir = c.dir
	if err := os.Mkdir(c.dir, 0o700); errors.Is(err, os.ErrExist) {
		return hint.With(&Error{Op: "--name " + c.state.Name, Err: ErrNameInUse}, "choose another name, or remove that container")
	} else if err != nil {
		return err
	}
	if c.lock, err = flock.Open(c.dir, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(err, os.Remove(c.dir))
	}
	if err := errors.Join(c.state.link(), c.state.save()); err != nil {
		err = errors.Join(err, c.state.remove(), removeall.Remove(c.dir))
		c.unlock()
		return &Error{Op: "create container", Err: err, Cause: CauseRunRoot}
	}
	return nil
}

// Open returns the container with a name. If there is none the error wraps [os.ErrNotExist].
func Open(dirs Dirs, name string, warn func(error)) (*Container, error) {
	if !isID(name) {
		return nil, fmt.Errorf("container %s: %w", name, os.ErrNotExist)
	}
	c := &Container{dir: filepath.Join(dirs.Root, "containers", name), warn: warn}
	var err error
	if c.state, err = readState(c.dir); err != nil {
		return nil, fmt.Errorf("container %s: %w", name, err)
	}
	return c, nil
}

// ID returns 64 random hexadecimal digits. People use the first 12.
func (c *Container) ID() string { return c.state.ID }

// Dir returns the container's own directory, in which the caller may keep files for it.
func (c *Container) Dir() string { return c.dir }

// State reads what is known of the container now. After Delete the error wraps
// [os.ErrNotExist].
func (c *Container) State() (State, error) {
	s, err := readState(c.dir)
	if err != nil {
		return s, fmt.Errorf("container %s: %w", c.state.Name, err)
	}
	return s, nil
}

// removeDir removes the directory, and gives up the lock. The files in the run root go
// first: if this process is killed meanwhile, the directory leads the next start to them.
// Unless the directory has been renamed away, the lock of the one above must not be held.
func (c *Container) removeDir() error {
	err := c.giveNameUp()
	if err == nil {
		err = errors.Join(c.state.remove(), removeall.Remove(c.dir))
	}
	c.unlock()
	if err != nil {
		return fmt.Errorf("remove container %s: %w", c.state.Name, err)
	}
	return nil
}

// cgroupsPath names the cgroup as the runtime spec wants it: a path, or
// SLICE:PREFIX:NAME for systemd.
func (c *Container) cgroupsPath() string {
	if c.state.Systemd {
		return cmp.Or(c.state.CgroupParent, defaultSlice) + ":minirun:" + c.state.key()
	}
	return path.Join("/", c.state.CgroupParent, "minirun-"+c.state.key()) // without a directory of minirun's above it, which would stay
}

// defaultSlice is where systemd keeps services.
const defaultSlice = "system.slice"

// cgroup describes the same cgroup as cgroups.Manager wants it.
func (c *Container) cgroup() *cgroups.Cgroup {
	cg := &cgroups.Cgroup{Resources: &cgroups.Resources{}, Systemd: c.state.Systemd}
	if c.state.Systemd {
		cg.Parent, cg.ScopePrefix, cg.Name = cmp.Or(c.state.CgroupParent, defaultSlice), "minirun", c.state.key()
	} else {
		cg.Path = c.cgroupsPath()
	}
	return cg
}
