package launcher

import (
	"cmp"
	"errors"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/arm"
)

// Create makes the container's cgroup and its init, which sets up everything from
// inside and then waits for [Container.Start]. The calling thread has mounts of its
// own ([PrivateMounts]), among them the spec's root. When Create fails nothing is left
// but the directory, and the error is an [Error] with the status to end with. For an
// engine's container the thread has the host's mounts.
func (c *Container) Create(o Options) error {
	if c.lock == nil || c.launched != nil {
		return c.refuse("create")
	}
	l := &launched{o: o}
	c.launched = l
	if c.ids != nil {
		joinNamespace(o.Spec, specs.UserNamespace, c.ids.User)
	}
	err := c.openNetwork(l)
	if err == nil && o.Engine == nil {
		err = c.mountEtc(l)
	}
	if err == nil {
		err = c.create(l)
	}
	if err != nil {
		c.discard()
		return err
	}
	if c.state.Owner == OwnerNobody {
		c.unlock()
	}
	return nil
}

func (c *Container) create(l *launched) (err error) {
	if e := l.o.Engine; e != nil {
		c.state.Args, c.state.Cwd, c.state.Kept = l.o.Spec.Process.Args, l.o.Spec.Process.Cwd, len(e.Files)
	}
	cfg, err := c.configure(l)
	if err != nil {
		return &Error{Op: "configure container", Err: err}
	}
	if !c.state.Systemd {
		if l.cgroup, err = takeCgroup(cfg); err != nil {
			e := &Error{Op: "create container", Err: err}
			if !errors.As(err, new(unix.Errno)) { // which has a hint of its own
				e.Cause = CauseJoinCgroup
			}
			return e
		}
		if err := c.dropCgroup(l); err != nil {
			return &Error{Op: "create container", Err: err, Cause: CauseCgroup}
		}
	}
	if err := c.prepare(l); err != nil {
		return err
	}
	if l.plan, err = c.makePlan(l, cfg); err != nil {
		return err
	}
	if l.waits = c.needsGo(l); l.waits != nil {
		l.streams.begin()
	}
	if err := c.newContainer(l, cfg); err != nil {
		return err
	}
	if err := c.startInit(l); err != nil {
		return err
	}
	if l.init, err = openInit(l.process); err != nil {
		return err
	}
	if err := c.state.identify(l.init.pid); err != nil {
		return err
	}
	// These go on while init sets up the container.
	if l.o.Watch != nil {
		l.watcher = startWatch(l.init.pid, l.cgroup.paths()[""], l.o.Spec, *l.o.Watch)
	}
	c.begins()
	c.state.Status, c.state.Root = StatusCreated, l.o.Spec.Root.Path
	c.describe(&l.o)
	if l.waits != nil { // else the launcher in C does, in a moment
		err = c.announce(l)
	} else if l.network.Settled() {
		err = l.describeLaunch()
	}
	if err != nil {
		return err
	}
	l.streams.interrupts = &interrupts{init: l.init, warn: c.warn}
	l.hooks = []hook{
		{"set the cgroup's limits", l.limit},
		{"set the process's limits", c.limitProcess},
		{"attach the network", c.attach},
		{"watch the container", l.watch},
		{"arm the seccomp filter", c.arm},
		{"count system calls", l.record},
		{takeStreams, l.takeStreams},
	}
	if err := c.runPlannedHooks(l, cfg); err != nil {
		return err
	}
	if err := l.page.WaitParked(); err != nil {
		return l.runError(err)
	}
	if l.o.Engine != nil {
		return asError("hand the container over", c.handOver(l))
	}
	return nil
}

// announce has others know of the container, and guards it.
func (c *Container) announce(l *launched) (err error) {
	if err := c.state.save(); err != nil {
		return err
	}
	if c.state.Owner != OwnerLauncher {
		return nil
	}
	if l.guard, err = startGuard(l.init.pidfd); err != nil {
		return &Error{Op: "start the container's guard", Err: err}
	}
	return nil
}

// prepare makes what init is to become, and what it shares with the launcher.
func (c *Container) prepare(l *launched) (err error) {
	args, passed := l.o.Spec.Process.Args, []*os.File(nil)
	if l.o.Init {
		if l.reaper, err = newReaper(); err != nil {
			return err
		}
		args, passed = append([]string{reaperPath, "minirun-init"}, args...), append(passed, l.reaper)
	}
	if err := c.preparePage(l, args, passed); err != nil {
		return err
	}
	if l.streams, err = attach(l.command, &l.o, c.state.Owner); err != nil {
		return err
	}
	return c.giveStreams(l)
}

// startInit starts init.
func (c *Container) startInit(l *launched) error {
	defer l.page.Started()
	if l.plan != nil {
		process, err := l.startPlanned()
		if err != nil {
			return &Error{Op: "start container", Err: err}
		}
		l.process = process
		return nil
	}
	if err := l.container.Start(l.command); err != nil {
		return cmp.Or(initError("start container", l.page.Failure()), startError(l.o.Spec.Process.Args[0], err))
	}
	l.process = l.command
	return nil
}

// preparePage makes the page, and describes the process that it is for.
func (c *Container) preparePage(l *launched, args []string, passed []*os.File) (err error) {
	env, e := l.o.Spec.Process.Env, l.o.Engine
	if e != nil {
		if env, err = environment(env); err != nil {
			return err
		}
	}
	if l.page, err = arm.New(max(len(l.o.Filter), len(l.spare())), l.cgroup.dirs(), args, env); err != nil {
		return &Error{Op: "run " + args[0], Err: err}
	}
	if c.state.Owner == OwnerNobody {
		l.page.Outlive()
	}
	if e == nil {
		l.command = newLibcontainerProcess(l.o.Spec, args, l.page.Files(passed...))
		return nil
	}
	l.page.FindHome()
	if l.command, err = engineProcess(l.o.Spec.Process, e); err != nil {
		return err
	}
	l.command.Init, l.command.ExtraFiles = true, l.page.Keep(e.Files...)
	return nil
}
