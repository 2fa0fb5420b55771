package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/removeall"
)

// ErrNotRunning reports that a container has no process left to signal. containerd looks
// for these words.
var ErrNotRunning = errors.New("container not running")

// EngineState is the state of a container that was created for an engine, as
// runtime.md of the OCI runtime specification defines it; the status may also be paused.
func (c *Container) EngineState() (*specs.State, error) {
	engine, err := c.load()
	if err != nil {
		return nil, err
	}
	return engine.OCIState()
}

// Signal sends a signal to the PID 1 of an engine's container. SIGKILL goes to all its
// processes if it has no PID namespace of its own. The error wraps [ErrNotRunning] if
// PID 1 has ended.
func (c *Container) Signal(sig unix.Signal) error {
	engine, err := c.load()
	if err != nil {
		return err
	}
	err = engine.Signal(sig)
	if errors.Is(err, libcontainer.ErrNotRunning) || errors.Is(err, os.ErrProcessDone) {
		return ErrNotRunning
	}
	return err
}

// KillAndWait kills an engine's container and waits until its PID 1 is gone, ten seconds at
// most. It is no error if it has ended already, or has no process yet.
func (c *Container) KillAndWait() error {
	var err error
	if c.state, err = readState(c.dir); err != nil {
		return fmt.Errorf("container %s: %w", c.state.Name, err)
	}
	if c.state.PID == 0 {
		return nil
	}
	engine, err := c.load()
	if err != nil && !errors.Is(err, libcontainer.ErrNotExist) {
		return err
	}
	return c.killEngine(engine)
}

// Pause freezes all processes of an engine's container until Thaw.
func (c *Container) Pause() error {
	engine, err := c.load()
	if err != nil {
		return err
	}
	return engine.Pause()
}

// Thaw ends a Pause.
func (c *Container) Thaw() error {
	engine, err := c.load()
	if err != nil {
		return err
	}
	return engine.Resume()
}

// Paused reports whether an engine's container is frozen.
func (c *Container) Paused() (bool, error) {
	engine, err := c.load()
	if errors.Is(err, libcontainer.ErrNotExist) {
		err = os.ErrNotExist // it has just been deleted
	}
	if err != nil {
		return false, err
	}
	status, err := engine.Status()
	return status == libcontainer.Paused, err
}

// OutOfMemory returns a channel with a value for each time that the kernel kills a
// process of an engine's container because memory is short. It is closed when the
// container has ended.
func (c *Container) OutOfMemory() (<-chan struct{}, error) {
	engine, err := c.load()
	if err != nil {
		return nil, err
	}
	return engine.NotifyOOM()
}

// Processes returns the PIDs of an engine's container in the host's PID namespace.
func (c *Container) Processes() ([]int, error) {
	engine, err := c.load()
	if err != nil {
		return nil, err
	}
	return engine.Processes()
}

// endEngine ends what is left of an engine's container: its processes, cgroup and
// libcontainer's state. It also runs the poststop hooks. A hook that fails is a warning,
// since the container is gone anyway (runtime.md, Lifecycle).
func (c *Container) endEngine() error {
	engine, err := c.load()
	if errors.Is(err, libcontainer.ErrNotExist) { // its creator was killed
		if err := c.removeCgroup(); err != nil {
			return err
		}
		return removeall.Remove(filepath.Join(c.state.RunRoot, c.state.Name))
	}
	if err != nil {
		return err
	}
	config := engine.Config()
	poststop := config.Hooks[configs.Poststop]
	delete(config.Hooks, configs.Poststop)
	state, err := engine.OCIState()
	if err != nil {
		return err
	}
	if err := c.killEngine(engine); err != nil {
		return err
	}
	if err := errors.Join(engine.Destroy(), c.removeCgroup()); err != nil {
		return err
	}
	state.Status, state.Pid = specs.StateStopped, 0
	for i, hook := range poststop {
		if err := hook.Run(state); err != nil {
			c.warn(fmt.Errorf("run poststop hook #%d: %w", i, err))
		}
	}
	return nil
}

// killEngine ends the PID 1 of an engine's container, and waits until it is gone. engine is
// nil if the creator was killed before there was a state of libcontainer's.
func (c *Container) killEngine(engine *libcontainer.Container) error {
	init, err := c.state.open()
	if err != nil { // it has ended
		return nil
	}
	defer init.pidfd.Close()
	if engine == nil {
		err = init.signal(unix.SIGKILL)
	} else {
		err = engine.Signal(unix.SIGKILL)
	}
	if err != nil && !errors.Is(err, libcontainer.ErrNotRunning) && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if !init.endsWithin(10 * time.Second) {
		return fmt.Errorf("process %d of container %s does not die", c.state.PID, c.state.Name)
	}
	return nil
}

// removeCgroup ends what is in the container's cgroup, and removes it: libcontainer may
// not know of it yet.
func (c *Container) removeCgroup() error {
	if len(c.state.Cgroups) == 0 || c.state.Systemd {
		return nil
	}
	cm, err := manager.NewWithPaths(&cgroups.Cgroup{Resources: &cgroups.Resources{}}, c.state.Cgroups)
	if err != nil || c.state.isAnothers(cm) {
		return err
	}
	if err := killAll(cm); err != nil {
		return err
	}
	return cm.Destroy()
}
