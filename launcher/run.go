package launcher

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Run starts the container and waits for its end. The status is the command's
// own, or 128+n when signal n ended it. When the container did not start the
// error is an [Error] with the status to end with.
//
// The calling thread has mounts of its own ([PrivateMounts]), among them
// the spec's root. The container is gone when Run returns: no process, cgroup or
// runtime state remains, and a terminal has its mode back. What cannot be removed
// is a warning: the command's own status is returned. Should the caller be
// killed, the container's PID 1 is killed, see [guard].
//
// Signals that reach the caller while Run runs go to the container's PID 1; see
// [signals].
func (c *Container) Run(o Options) (status int, err error) {
	sigs, err := catchSignals()
	if err != nil {
		return 0, err
	}
	defer sigs.stop()
	if err := c.mountEtc(o.Spec); err != nil {
		return 0, err
	}
	container, cgroup, err := c.create(o.Spec)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err := errors.Join(cgroup.kill(o.Spec), container.Destroy(), cgroup.remove()); err != nil {
			c.warn(fmt.Errorf("remove container %s: %w", c.name, err))
		}
	}()
	return c.start(container, cgroup, &o, sigs)
}

// create makes libcontainer's container, a state folder, no process yet; and the
// cgroup, unless systemd is to make that.
func (c *Container) create(spec *specs.Spec) (*libcontainer.Container, *ownCgroup, error) {
	// specconv asks for the working directory, which may have been deleted. All paths
	// are absolute by now, and CLONE_NEWNS gave the thread a directory of its own.
	if err := unix.Chdir("/"); err != nil {
		return nil, nil, os.NewSyscallError("chdir", err)
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       c.name,
		UseSystemdCgroup: c.systemd,
		Spec:             spec,
	})
	if err != nil {
		return nil, nil, &Error{Op: "configure container", Err: err}
	}
	if c.systemd {
		container, err := libcontainer.Create(c.dirs.RunRoot, c.name, config)
		if err != nil {
			return nil, nil, &Error{Op: "create container", Err: err, Help: "--cgroup-manager cgroupfs works without systemd"}
		}
		return container, nil, nil
	}
	cgroup, err := takeCgroup(config)
	if err != nil {
		return nil, nil, &Error{Op: "create container", Err: err}
	}
	made := make(chan error, 1)
	go func() { made <- cgroup.make() }()
	container, err := newContainer(c.dirs.RunRoot, c.name, config)
	if cerr := <-made; cerr != nil {
		if container != nil {
			err = container.Destroy()
		}
		return nil, nil, &Error{
			Op: "make the cgroup " + c.cgroupsPath(), Err: errors.Join(cerr, err),
			Help: "one that another program has left can be removed with rmdir(1), or choose another --name",
		}
	}
	if err != nil {
		return nil, nil, &Error{Op: "create container", Err: errors.Join(err, cgroup.remove()), Help: "choose another directory with --run-root"}
	}
	return container, cgroup, nil
}

// start runs the command in the container and waits for it. Whatever fails
// before the command runs, its process is killed and reaped.
func (c *Container) start(container *libcontainer.Container, cgroup *ownCgroup, o *Options, sigs *signals) (int, error) {
	args, passed := o.Spec.Process.Args, []*os.File(nil)
	if o.Init {
		reaper, err := newReaper()
		if err != nil {
			return 0, err
		}
		defer reaper.Close()
		args, passed = append([]string{reaperPath, "minirun-init"}, args...), append(passed, reaper)
	}
	page, err := newInitPage(len(o.Filter), cgroup.dirs(), args, o.Spec.Process.Env)
	if err != nil {
		return 0, &Error{Op: "run " + o.Spec.Process.Args[0], Err: err}
	}
	defer page.Close()
	process := newLibcontainerProcess(o.Spec, args, page.files(passed...))
	streams, err := attach(process, o)
	if err != nil {
		return 0, err
	}
	defer streams.close()
	if n := sigs.pendingEnd(); n != 0 {
		return 128 + n, nil
	}
	err = container.Start(process)
	page.started()
	n := sigs.pendingEnd()
	switch {
	case n != 0 && err == nil:
		return 128 + n, kill(process)
	case n != 0: // at a terminal the signal has reached init too
		return 128 + n, nil
	case err != nil:
		return 0, cmp.Or(page.failure(), startError(o.Spec.Process.Args[0], err))
	}
	if err := bind(page, cgroup, o); err != nil {
		return 0, errors.Join(err, kill(process))
	}
	init, err := openInit(process)
	if err != nil {
		return 0, errors.Join(err, kill(process))
	}
	defer init.pidfd.Close()
	guard, err := startGuard(init)
	if err != nil {
		return 0, errors.Join(&Error{Op: "start the container's guard", Err: err}, kill(process))
	}
	defer guard.stop()
	streams.interrupts = &interrupts{init: init, warn: c.warn}
	if err := streams.started(); err != nil {
		return 0, errors.Join(err, kill(process))
	}
	go sigs.forward(init, streams, stopSignal(o.Spec), o.Signals)
	if err := page.run(); err != nil {
		return 0, errors.Join(runError(process, o, err), kill(process))
	}
	state, err := process.Wait()
	if state == nil {
		return 0, fmt.Errorf("wait for the container: %w", err)
	}
	err = streams.drain(sigs.ended)
	streams.close()
	if streams.interrupts.done() {
		streams.interrupts.report()
		sigs.kept = true // the user may not have let go of ^C, and there is something to clean up
	}
	if sig := sigs.killedBy.Load(); sig != 0 {
		return 128 + int(sig), nil
	}
	return c.ended(state, err)
}

// ended returns the status of a command, unless that is 0 and its output was lost.
func (c *Container) ended(state *os.ProcessState, lost error) (int, error) {
	status := exitStatus(state)
	if lost != nil && status != 0 {
		c.warn(lost)
		return status, nil
	}
	return status, lost
}

// bind puts a parked init under its limits and its filter.
func bind(page *initPage, cgroup *ownCgroup, o *Options) error {
	if err := page.waitParked(); err != nil {
		return asError("start container", err)
	}
	if !page.joined() {
		return &Error{Op: "start container", Err: errors.New("its init did not join its cgroups")}
	}
	if err := cgroup.limit(); err != nil {
		return &Error{Op: "set the cgroup's limits", Err: err, Help: "see --memory, --cpus and --pids-limit; 'minirun doctor' lists this machine's controllers"}
	}
	if o.Filter == nil {
		return nil
	}
	if err := page.arm(o.Filter, o.FilterFlags); err != nil {
		return asError("arm the seccomp filter", err)
	}
	return nil
}

// runError is why an init that was let go did not become the command.
func runError(process *libcontainer.Process, o *Options, err error) error {
	var failed *execError
	if !errors.As(err, &failed) {
		return asError("start container", err)
	}
	pid, err := process.Pid()
	if err != nil {
		return err
	}
	return execFailed(o.Spec.Process, pid, failed)
}

// kill ends an init that is not to go on.
func kill(process *libcontainer.Process) error {
	if err := process.Signal(unix.SIGKILL); err != nil {
		return err
	}
	_, err := process.Wait()
	var killed interface{ ExitCode() int } // *exec.ExitError: it died, as it should
	if errors.As(err, &killed) {
		return nil
	}
	return err
}

func newLibcontainerProcess(spec *specs.Spec, args []string, files []*os.File) *libcontainer.Process {
	p := spec.Process
	groups := make([]int, len(p.User.AdditionalGids))
	for i, gid := range p.User.AdditionalGids {
		groups[i] = int(gid)
	}
	process := &libcontainer.Process{
		Init:             true,
		Args:             args,
		Env:              p.Env,
		Cwd:              p.Cwd,
		UID:              int(p.User.UID),
		GID:              int(p.User.GID),
		AdditionalGroups: groups,
		NoNewPrivileges:  &p.NoNewPrivileges,
		AppArmorProfile:  p.ApparmorProfile,
		ExtraFiles:       files,
		LogLevel:         strconv.Itoa(logLevelWarn),
	}
	for _, limit := range p.Rlimits {
		process.Rlimits = append(process.Rlimits, configs.Rlimit{
			Type: rlimitNumber[limit.Type], Soft: limit.Soft, Hard: limit.Hard,
		})
	}
	return process
}

// logLevelWarn is logrus.WarnLevel: what libcontainer's init passes on; see [lastStep].
const logLevelWarn = 3
