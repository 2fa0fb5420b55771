package launcher

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	json "github.com/go-json-experiment/json/v1"
	mobyuserns "github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // the device rules of cgroup v1 and v2
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/configs/validate"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ownCgroup is a cgroup that init joins by itself, before anything else (join.c).
//
// libcontainer would move init there by its PID. This takes a lock that every fork and
// exit shares (cgroup_threadgroup_rwsem, a percpu_rw_semaphore). Taking it after a quiet
// time waits for an RCU grace period, which is a third of a start. A process that is born
// in a cgroup v2 (CLONE_INTO_CGROUP, Linux 5.7) does not wait, nor does a thread that
// moves itself between cgroups of v1 (Linux 5.5, 9a3284fad42f).
type ownCgroup struct {
	cgroups.Manager
	config *cgroups.Cgroup
}

// takeCgroup takes the cgroup out of a config, which then has none: libcontainer
// neither joins nor limits nor removes one.
func takeCgroup(config *configs.Config) (*ownCgroup, error) {
	// Then device rules that cannot be set are none.
	config.Cgroups.Rootless = mobyuserns.RunningInUserNS()
	m, err := newManager(config.Cgroups)
	if err != nil {
		return nil, err
	}
	own := &ownCgroup{m, config.Cgroups}
	config.Cgroups = &cgroups.Cgroup{Rootless: true, Resources: &cgroups.Resources{}}
	return own, nil
}

// dropCgroup has a container run without a cgroup of its own where there is to be none, or a
// user may make none.
func (c *Container) dropCgroup(l *launched) error {
	switch e, user := l.o.Engine, mobyuserns.RunningInUserNS(); {
	case e == nil && user && c.state.CgroupParent == "", e != nil && e.NoCgroup:
	case e != nil && user && l.o.Spec.Linux.CgroupsPath == "" && l.cgroup.denied():
		if hasLimits(l.o.Spec.Linux.Resources) {
			return errors.New("linux.resources has limits, but this user may make no cgroup for them")
		}
	default:
		return nil
	}
	l.cgroup = nil
	return nil
}

// denied reports whether the cgroup's directories cannot be made.
func (c *ownCgroup) denied() bool {
	paths := c.paths()
	for _, path := range paths {
		if unix.Access(filepath.Dir(path), unix.W_OK) != nil {
			return true
		}
	}
	return len(paths) == 0
}

func hasLimits(r *specs.LinuxResources) bool {
	if r == nil {
		return false
	}
	block := r.BlockIO != nil && (r.BlockIO.Weight != nil || len(r.BlockIO.WeightDevice)+len(r.BlockIO.ThrottleReadBpsDevice)+
		len(r.BlockIO.ThrottleWriteBpsDevice)+len(r.BlockIO.ThrottleReadIOPSDevice)+len(r.BlockIO.ThrottleWriteIOPSDevice) > 0)
	return block || r.Memory != nil && *r.Memory != specs.LinuxMemory{} || r.CPU != nil && *r.CPU != specs.LinuxCPU{} ||
		r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit > 0 || len(r.HugepageLimits)+len(r.Unified) > 0
}

// newManager is manager.New, which looks for each controller's directory once more.
func newManager(c *cgroups.Cgroup) (cgroups.Manager, error) {
	roots, err := cgroupRoots()
	if err != nil || !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path || c.Systemd {
		return manager.New(c)
	}
	paths := make(map[string]string, len(roots))
	for controller, root := range roots {
		paths[controller] = filepath.Join(root, c.Path)
	}
	return manager.NewWithPaths(c, paths)
}

// cgroupRoots returns the directories of the root cgroups, by controller; "" is that of
// cgroup v2.
var cgroupRoots = sync.OnceValues(func() (map[string]string, error) {
	m, err := manager.New(&cgroups.Cgroup{Path: "/", Resources: &cgroups.Resources{}})
	if err != nil {
		return nil, err
	}
	return m.GetPaths(), nil
})

// make makes the cgroup. An existing cgroup is used unless it is frozen or has processes.
func (c *ownCgroup) make() error {
	if c.Exists() {
		pids, err := c.GetAllPids()
		if err != nil {
			return err
		}
		if len(pids) > 0 {
			return fmt.Errorf("it is there already, with %d processes in it", len(pids))
		}
	}
	state, err := c.GetFreezerState()
	if err != nil {
		return err
	}
	if state == cgroups.Frozen {
		return errors.New("it is there already, and frozen")
	}
	if err := c.Apply(-1); err != nil {
		return errors.Join(err, c.Destroy())
	}
	return nil
}

// The methods of a nil cgroup do nothing: systemd keeps it, or there is none.

// paths are the cgroup's directories by controller; "" is that of cgroup v2.
func (c *ownCgroup) paths() map[string]string {
	if c == nil {
		return nil
	}
	return c.GetPaths()
}

// dirs are the cgroup's directories: that of cgroup v2, or "", then those of v1.
func (c *ownCgroup) dirs() []string {
	if c == nil {
		return nil
	}
	paths := maps.Clone(c.GetPaths())
	dirs := []string{paths[""]}
	delete(paths, "")
	return append(dirs, slices.Sorted(maps.Values(paths))...)
}

// limit sets the cgroup's limits and device rules.
func (c *ownCgroup) limit() error {
	if c == nil {
		return nil
	}
	return c.Set(c.config.Resources)
}

// kill ends what PID 1 has left of a container that has no PID namespace, where
// it is no more than a process. (libcontainer does that for a cgroup of systemd's.)
func (c *ownCgroup) kill(spec *specs.Spec) error {
	if c == nil || hasNamespace(spec, specs.PIDNamespace) {
		return nil
	}
	return killAll(c.Manager)
}

func (c *ownCgroup) remove() error {
	if c == nil {
		return nil
	}
	return c.Destroy()
}

// noCgroup is where libcontainer cannot make a cgroup: it puts up with that when the
// config says Rootless and sets no limits.
const noCgroup = "/proc/none"

// loadContainer is libcontainer.Create for a container whose cgroup is not
// libcontainer's. Create finds out the cgroup's directories by itself; Load takes those
// that it finds in the state.
func loadContainer(root, id string, config *configs.Config) (_ *libcontainer.Container, err error) {
	if err := validate.Validate(config); err != nil {
		return nil, err
	}
	state, err := json.Marshal(libcontainer.State{
		BaseState:   libcontainer.BaseState{ID: id, Config: *config},
		CgroupPaths: map[string]string{"": noCgroup},
	})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	dir := filepath.Join(root, id)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := os.WriteFile(filepath.Join(dir, "state.json"), state, 0o600); err != nil {
		return nil, err
	}
	return libcontainer.Load(root, id)
}
