package launcher

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	json "github.com/go-json-experiment/json/v1"
	"github.com/moby/sys/user"
	mobyuserns "github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/internal/removeall"
	"github.com/minirun/minirun/launcher/config"
)

// EnterOptions say what to run in a container that runs, beside its PID 1.
type EnterOptions struct {
	Args       []string
	Env        []string // NAME=VALUE; overrides the container's
	User       string   // [USER|UID][:GROUP|:GID]; "" is the container's
	Workdir    string   // "" is the container's
	Terminal   bool
	Privileged bool // with all capabilities that this process can give

	Interactive bool // -i: pass standard input on
	Detached    bool // do not wait: the streams are /dev/null

	DetachKeys []byte // typed at the terminal, they have Leave called; none are looked for without it
	Leave      func() // gives up the user's terminal, whose mode has been restored, and the other streams

	Stdin, Stdout, Stderr *os.File

	Ready func() // is called once the command runs; may be nil
}

// Enter runs a command in a container that runs, in all its namespaces and in its cgroup,
// with its capabilities and under its filter, and waits for its end. The status is the
// command's own, or 128+n when signal n ended it. When it did not start the error is an
// [Error] with the status to end with. The relay's signals go to the command, which ends
// with the caller unless it is detached. The caller has locked itself to its thread
// (runtime.LockOSThread), whose end would be the command's too.
func (c *Container) Enter(o EnterOptions, sigs *Relay) (status int, err error) {
	if c.state.Status != StatusRunning {
		return 0, c.refuse("exec in")
	}
	launch, err := c.Launch()
	if errors.Is(err, os.ErrNotExist) {
		return 0, c.refuse("exec in")
	}
	if err != nil {
		return 0, err
	}
	joined, err := c.join(launch)
	if err != nil {
		return 0, err
	}
	defer joined.close()
	x := &ExecOptions{
		Filter: programOf(launch.Filter), FilterFlags: launch.FilterFlags,
		Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, launchers: !o.Detached, interactive: o.Interactive, detachKeys: o.DetachKeys, leave: o.Leave,
	}
	if o.Detached {
		x.Stdin, x.Stdout, x.Stderr = nil, nil, nil
	}
	if x.Process, err = joined.process(launch, &o); err != nil {
		return 0, err
	}
	if launch.Observed != nil {
		x.Filter, x.FilterFlags = programOf(launch.Observed), launch.ObservedFlags
		x.Listener = func(listener *os.File, _ int) error {
			defer listener.Close()
			return c.Observe(listener)
		}
	} else if agent := launch.Agent; agent != nil {
		if err := agent.Connect(); err != nil {
			return 0, err
		}
		defer agent.Close()
		x.Listener = func(listener *os.File, pid int) error {
			defer listener.Close()
			state := specs.State{Version: specs.Version, ID: c.state.ID, Status: specs.StateRunning, Pid: c.state.PID, Bundle: c.dir}
			return agent.Send(listener, pid, state)
		}
	}
	return joined.run(x, sigs, o.Ready)
}

func (j *joined) run(o *ExecOptions, sigs *Relay, ready func()) (int, error) {
	x, err := execIn(j.engine, o)
	if n := sigs.pendingEnd(0); n != 0 {
		if err == nil {
			err = x.Kill()
		}
		return 128 + n, err
	}
	if err != nil {
		return 0, err
	}
	if ready != nil {
		ready()
	}
	if !o.launchers {
		x.Close()
		return 0, nil
	}
	x.streams.interrupts = &interrupts{init: x.init, warn: func(error) {}}
	go sigs.forward(x.init, x.streams, unix.SIGTERM, config.Signals{})
	status, err := x.wait(sigs.ended)
	return sigs.outcome(x.streams.interrupts, status, err)
}

// joined is what a process needs of a container to join it.
type joined struct {
	engine     *libcontainer.Container
	namespaces []*os.File
	root       *os.File // of PID 1
	dir        string   // of the engine's state
}

// join opens the namespaces and the root of PID 1, and describes the container to
// libcontainer, which knows nothing of one that a plan has made.
//
// All is opened first, and then it is made sure that PID 1 has not ended meanwhile: else its
// number might be another process's. libcontainer is given the open files.
func (c *Container) join(launch *Launch) (_ *joined, err error) {
	j := &joined{}
	defer func() {
		if err != nil {
			j.close()
			err = fmt.Errorf("join container %s: %w", c.state.Name, err)
		}
	}()
	proc := "/proc/" + strconv.Itoa(c.state.PID)
	config := &configs.Config{Cgroups: c.cgroup(), OomScoreAdj: launch.Process.OOMScoreAdj}
	for _, ns := range launch.Namespaces {
		kind := configs.NamespaceType("NEW" + strings.ToUpper(string(ns.Type)))
		switch ns.Type {
		case specs.NetworkNamespace:
			kind = configs.NEWNET
		case specs.MountNamespace:
			kind = configs.NEWNS
		case specs.UserNamespace:
			if err := readMappings(config, proc); err != nil {
				return nil, err
			}
		}
		f, err := os.Open(path.Join(proc, "ns", configs.NsName(kind)))
		if err != nil {
			return nil, err
		}
		j.namespaces = append(j.namespaces, f)
		config.Namespaces.Add(kind, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()))
	}
	if j.root, err = os.OpenFile(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if !c.state.alive() {
		return nil, c.refuse("exec in")
	}
	return j, j.describe(c, config)
}

// readMappings notes which users of the host those of a container are.
func readMappings(config *configs.Config, proc string) error {
	for file, mappings := range map[string]*[]configs.IDMap{"uid_map": &config.UIDMappings, "gid_map": &config.GIDMappings} {
		lines, err := user.ParseIDMapFile(path.Join(proc, file))
		if err != nil {
			return err
		}
		for _, l := range lines {
			*mappings = append(*mappings, configs.IDMap{ContainerID: l.ID, HostID: l.ParentID, Size: l.Count})
		}
	}
	return nil
}

// describe writes the state that libcontainer loads. It is in the container's own
// directory, and goes with that if this process is killed.
func (j *joined) describe(c *Container, config *configs.Config) (err error) {
	cm, err := manager.New(config.Cgroups)
	if err != nil {
		return err
	}
	paths := cm.GetPaths()
	if mobyuserns.RunningInUserNS() && c.state.CgroupParent == "" { // a user's, without limits
		paths, config.RootlessCgroups = map[string]string{"": noCgroup}, true
	}
	if j.dir, err = os.MkdirTemp(c.dir, "exec-"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(j.dir, c.state.Name), 0o700); err != nil {
		return err
	}
	state, err := json.Marshal(libcontainer.State{
		BaseState: libcontainer.BaseState{
			ID: c.state.Name, Config: *config, InitProcessPid: c.state.PID, InitProcessStartTime: c.state.StartTime, Created: c.state.Created,
		},
		CgroupPaths: paths,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(j.dir, c.state.Name, "state.json"), state, 0o600); err != nil {
		return err
	}
	j.engine, err = libcontainer.Load(j.dir, c.state.Name)
	return err
}

func (j *joined) close() {
	for _, f := range j.namespaces {
		f.Close()
	}
	if j.root != nil {
		j.root.Close()
	}
	if j.dir != "" {
		_ = removeall.Remove(j.dir) // else it goes with the container
	}
}

// process is the container's own, with what the options change.
func (j *joined) process(launch *Launch, o *EnterOptions) (*specs.Process, error) {
	p := launch.Process
	p.Args, p.Terminal = o.Args, o.Terminal
	if o.Workdir != "" {
		if p.Cwd = o.Workdir; !path.IsAbs(p.Cwd) {
			return nil, &Error{Op: "--workdir " + o.Workdir, Err: errors.New("cwd must be an absolute path")}
		}
	}
	home := ""
	if o.User != "" {
		u, err := execUser("/proc/self/fd/"+strconv.Itoa(int(j.root.Fd())), o.User, launch.Groups)
		if err != nil {
			return nil, err
		}
		p.User, home = specs.User{UID: uint32(u.Uid), GID: uint32(u.Gid)}, u.Home
		for _, gid := range u.Sgids {
			p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(gid))
		}
	}
	p.Env = enterEnvironment(p.Env, o, home)
	bounding := []string(nil)
	if p.Capabilities != nil {
		bounding = p.Capabilities.Bounding
	}
	if o.Privileged {
		var err error
		if bounding, _, err = grantable(capname.All(), nil); err != nil {
			return nil, err
		}
		if p.ApparmorProfile != "" {
			p.ApparmorProfile = "unconfined"
		}
	}
	p.Capabilities = &specs.LinuxCapabilities{Bounding: bounding}
	if p.User.UID == 0 {
		p.Capabilities.Effective, p.Capabilities.Permitted = bounding, bounding
	}
	return p, nil
}

// enterEnvironment is the container's environment with the command's own variables. The
// container's HOME is last where it is its user's, and so is another user's here.
func enterEnvironment(env []string, o *EnterOptions, home string) []string {
	env = slices.Clone(env)
	if last := len(env) - 1; home != "" && last >= 0 && strings.HasPrefix(env[last], "HOME=") {
		env[last] = "HOME=" + home
	}
	if o.Terminal && !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
		env = append(env, "TERM=xterm")
	}
	for _, pair := range o.Env {
		name, _, hasValue := strings.Cut(pair, "=")
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if hasValue {
			env = append(env, pair)
		}
	}
	return env
}
