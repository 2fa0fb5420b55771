package launcher

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/launcher/arm"
)

// Engine is what an OCI engine, such as containerd, asks of a container in addition to
// its spec. The spec is used unchanged: nothing is mounted except what it names, the
// cgroup is linux.cgroupsPath, and relative paths start from the working directory, which
// is the bundle. Other processes than the one that created the container can start it,
// and do everything else with it.
type Engine struct {
	Console    *os.File   // the socket that gets the terminal's master (unix(7), SCM_RIGHTS), or nil
	Pidfd      *os.File   // the socket that gets a pidfd of the process, or nil
	Files      []*os.File // what the command gets as its files from 3 on
	NoPivot    bool       // leave the old root by chroot(2) and MS_MOVE, for one on a ramdisk
	NoKeyring  bool       // keep the caller's session keyring
	Systemd    bool       // systemd makes the cgroup; linux.cgroupsPath is SLICE:PREFIX:NAME
	NoCgroup   bool       // there is none of the container's own, and so no limits; not with Systemd
	Foreground bool       // the caller waits for the end, and serves a terminal that has no Console
	Plain      bool       // who starts it has nothing to add: no listener or supervisor, and nobody waits for its readiness

	Show func(State) ([]byte, error) // returns what an engine is shown of a container that is not paused; may be nil
}

// laterHooks are those that libcontainer would run too early, or never (takeover.c):
// [Container.StartCreated] runs them.
func laterHooks() []configs.HookName {
	return []configs.HookName{configs.StartContainer, configs.Poststart}
}

// keptBack is the part that is taken out of libcontainer's configuration of an engine's
// container while init sets the container up.
type keptBack struct {
	config *configs.Config
	hooks  configs.Hooks
}

// keepBack takes it out of the configuration.
func keepBack(config *configs.Config) *keptBack {
	k := &keptBack{config, configs.Hooks{}}
	for _, name := range laterHooks() {
		if len(config.Hooks[name]) > 0 {
			k.hooks[name] = config.Hooks[name]
			delete(config.Hooks, name)
		}
	}
	return k
}

// hasEarlyHooks reports whether hooks of the engine run while init sets up the container.
// They expect its limits to be set.
func hasEarlyHooks(config *configs.Config) bool {
	return config.HasHook(configs.Prestart, configs.CreateRuntime, configs.CreateContainer)
}

// handOver leaves a parked container to other processes: its limits are set, its filter
// is in the page, and libcontainer's state names its cgroup and hooks.
func (c *Container) handOver(l *launched) error {
	if err := l.limit(); err != nil {
		return err
	}
	l.page.Load(l.o.Filter, l.o.FilterFlags)
	l.streams.closeChilds()
	state, err := c.libcontainerState(l)
	if err != nil {
		return err
	}
	if state.Config.Hooks == nil {
		state.Config.Hooks = configs.Hooks{}
	}
	maps.Copy(state.Config.Hooks, l.kept.hooks)
	switch {
	case l.cgroup != nil:
		state.Config.Cgroups, state.CgroupPaths = l.cgroup.config, l.cgroup.GetPaths()
		c.state.Cgroups = state.CgroupPaths
	case c.state.Systemd:
		c.state.Cgroups = state.CgroupPaths
	default:
		state.CgroupPaths, state.Config.RootlessCgroups = map[string]string{"": noCgroup}, true
	}
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(c.state.RunRoot, c.state.Name, "state.json"), data, 0o600); err != nil {
		return err
	}
	l.handedOver = true
	if err := c.state.save(); err != nil {
		return err
	}
	return c.leaveToC(l)
}

// libcontainerState is the state of libcontainer's that others read. Of a container that is
// set up from a plan it is written here, as libcontainer would (currentState).
func (c *Container) libcontainerState(l *launched) (*libcontainer.State, error) {
	if l.plan == nil {
		return l.container.State()
	}
	state := &libcontainer.State{
		BaseState: libcontainer.BaseState{
			ID: c.state.Name, InitProcessPid: c.state.PID, InitProcessStartTime: c.state.StartTime, Created: c.state.Created, Config: *l.kept.config,
		},
		NamespacePaths: map[configs.NamespaceType]string{},
	}
	for _, kind := range configs.NamespaceTypes() {
		if ns := (configs.Namespace{Type: kind}); configs.IsNamespaceSupported(kind) {
			state.NamespacePaths[kind] = ns.GetPath(c.state.PID)
		}
	}
	for _, ns := range l.kept.config.Namespaces {
		state.NamespacePaths[ns.Type] = ns.GetPath(c.state.PID)
	}
	dir := filepath.Join(c.state.RunRoot, c.state.Name)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	// To libcontainer this file, which it would open to start the command, is what makes
	// a container a created one.
	return state, os.WriteFile(filepath.Join(dir, startFile), nil, 0o600)
}

const startFile = "exec.fifo"

// engineProcess is a process as an engine describes it.
func engineProcess(p *specs.Process, e *Engine) (*libcontainer.Process, error) {
	process := newLibcontainerProcess(&specs.Spec{Process: p}, p.Args, nil)
	process.Label, process.Scheduler, process.IOPriority = p.SelinuxLabel, p.Scheduler, p.IOPriority
	if c := p.Capabilities; c != nil {
		process.Capabilities = &configs.Capabilities{
			Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable, Permitted: c.Permitted, Ambient: c.Ambient,
		}
	}
	if size := p.ConsoleSize; size != nil {
		process.ConsoleWidth, process.ConsoleHeight = uint16(size.Width), uint16(size.Height)
	}
	for _, limit := range p.Rlimits {
		if _, ok := rlimitNumber[limit.Type]; !ok {
			return nil, &Error{Op: "process.rlimits", Err: fmt.Errorf("%q: no such limit", limit.Type)}
		}
	}
	affinity, err := configs.ConvertCPUAffinity(p.ExecCPUAffinity)
	if err != nil {
		return nil, &Error{Op: "process.execCPUAffinity", Err: err}
	}
	process.CPUAffinity, process.ConsoleSocket, process.PidfdSocket = affinity, e.Console, e.Pidfd
	return process, nil
}

// environment returns the environment of a command from an engine's list. As with runc,
// the last of several values counts, and an empty HOME is replaced.
func environment(list []string) ([]string, error) {
	var env []string
	seen := map[string]bool{}
	for _, entry := range slices.Backward(list) {
		name, _, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return nil, &Error{Op: "process.env", Err: fmt.Errorf("%q is not NAME=VALUE", entry)}
		}
		if !seen[name] && entry != "HOME=" {
			env = append(env, entry)
		}
		seen[name] = true
	}
	slices.Reverse(env)
	return env, nil
}

// StartCreated starts the command of a container that another process has created for an
// engine. listener gets the filter's listener, if there is one, before the command runs,
// and closes it. supervisor, unless it is nil, starts a process that calls
// [Container.Supervise]. After an error the container has stopped.
func (c *Container) StartCreated(listener func(*os.File) error, supervisor *exec.Cmd) error {
	if c.lock == nil {
		lock, err := flock.Open(c.dir, unix.LOCK_EX)
		if err != nil {
			return fmt.Errorf("start container %s: %w", c.state.Name, err)
		}
		defer lock.Close()
	}
	var err error
	if c.state, err = readState(c.dir); err != nil {
		return fmt.Errorf("start container %s: %w", c.state.Name, err)
	}
	if err := c.failedInC(); err != nil {
		return err
	}
	if c.state.Status != StatusCreated {
		return c.refuse("start")
	}
	if c.launched != nil { // it is this process that has created it
		if err := c.launched.streams.started(); err != nil {
			return errors.Join(asError("take over the container's streams", err), c.stop())
		}
	}
	init, err := c.state.open()
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.state.Name, err)
	}
	defer init.pidfd.Close()
	page, err := arm.Reopen(init.pidfd, c.state.Kept)
	if errors.Is(err, unix.ESRCH) { // it is just ending
		return &StateError{"start", c.state.Name, StatusStopped}
	}
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.state.Name, err)
	}
	defer page.Close()
	if err := c.startParked(init, page, listener, supervisor); err != nil {
		return errors.Join(err, init.end())
	}
	return nil
}

// endFailed ends the init of a start that failed.
func (c *Container) endFailed() error {
	init, err := c.state.open()
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer init.pidfd.Close()
	return init.end()
}

// end kills the process, and waits until it is gone, ten seconds at most.
func (p *initProcess) end() error {
	err := p.signal(unix.SIGKILL)
	p.endsWithin(10 * time.Second)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

func (c *Container) startParked(init *initProcess, page *arm.Page, listener func(*os.File) error, supervisor *exec.Cmd) error {
	engine, err := c.load()
	if err != nil {
		return err
	}
	if err := c.hooksInside(engine); err != nil {
		return err
	}
	if supervisor != nil { // what hooks do is not the command's doing
		if err := c.startSupervisor(supervisor); err != nil {
			return err
		}
	}
	if page.Loaded() {
		file, err := page.Install(init.pidfd)
		if err != nil {
			return initError("arm the seccomp filter", err)
		}
		if file != nil {
			if err := listener(file); err != nil {
				return err
			}
		}
	}
	if err := page.Exec(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.state.RunRoot, c.state.Name, startFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	c.state.Status = StatusRunning
	if err := c.state.save(); err != nil {
		return err
	}
	if err := page.WaitExec(); err != nil {
		return c.commandError(err)
	}
	return runHooks(engine, configs.Poststart)
}

// commandError words why an engine's container has not become its command.
func (c *Container) commandError(err error) error {
	if err == nil {
		return nil
	}
	process := &specs.Process{Args: c.state.Args, Cwd: c.state.Cwd}
	l := &launched{o: Options{Spec: &specs.Spec{Process: process}}, init: &initProcess{pid: c.state.PID}}
	return l.runError(err)
}

// runHooks runs an engine's hooks in the host's namespaces.
func runHooks(engine *libcontainer.Container, name configs.HookName) error {
	config := engine.Config()
	if !config.HasHook(name) {
		return nil
	}
	state, err := engine.OCIState()
	if err != nil {
		return err
	}
	return config.Hooks.Run(name, state)
}

// engines reports whether the container was created for an engine.
func (s *State) engines() bool { return len(s.Args) > 0 }

// load returns libcontainer's side of an engine's container.
func (c *Container) load() (*libcontainer.Container, error) {
	if _, err := atomicfile.Read(filepath.Join(c.state.RunRoot, c.state.Name, stateFile)); errors.Is(err, atomicfile.ErrNotRegular) {
		return nil, err // Load would wait for the writer of a FIFO
	}
	return libcontainer.Load(c.state.RunRoot, c.state.Name)
}
