package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/arm"
)

// ExecOptions say what to run in an existing container.
type ExecOptions struct {
	Process *specs.Process
	Engine  Engine

	Filter      []unix.SockFilter // the seccomp program; nil is unconfined
	FilterFlags uint32            // SECCOMP_FILTER_FLAG_* to install it with

	// Listener gets the filter's listener, if there is one, and the process's number before
	// the command runs, and closes it.
	Listener func(listener *os.File, pid int) error

	// Cgroups are existing cgroups below the container's to join instead of it, by
	// controller; "" stands for all of them, and for cgroup v2.
	Cgroups map[string]string

	Stdin, Stdout, Stderr *os.File // passed on as they are

	launchers   bool // the process belongs to this one, which passes data on, and ends with it
	interactive bool // and gets standard input
	detachKeys  []byte
	leave       func()
}

// Exec is a process that runs in a container beside its PID 1. It does not end with
// the caller.
type Exec struct {
	process *libcontainer.Process
	streams *streams
	init    *initProcess
}

// Exec runs a process in a container's namespaces and cgroup, under the filter, which the
// process installs by itself as a PID 1 does. It returns when the process has become its
// command. It needs Linux 5.9 (close_range(2)): the container's /proc, which would list
// the open files, is untrusted.
func (c *Container) Exec(o ExecOptions) (*Exec, error) {
	engine, err := c.load()
	if err != nil {
		return nil, err
	}
	return execIn(engine, &o)
}

func execIn(engine *libcontainer.Container, o *ExecOptions) (*Exec, error) {
	env, err := environment(o.Process.Env)
	if err != nil {
		return nil, err
	}
	page, err := arm.New(len(o.Filter), nil, o.Process.Args, env)
	if err != nil {
		return nil, &Error{Op: "run " + o.Process.Args[0], Err: err}
	}
	defer page.Close()
	if !o.launchers {
		page.Outlive()
	}
	page.Join()
	page.FindHome()
	page.Load(o.Filter, o.FilterFlags)
	x := &Exec{}
	if x.process, err = engineProcess(o.Process, &o.Engine); err != nil {
		return nil, err
	}
	x.process.Init = false
	x.process.ExtraFiles, x.process.SubCgroupPaths = page.Keep(o.Engine.Files...), o.Cgroups
	if err := x.start(engine, page, o); err != nil {
		return nil, errors.Join(err, x.Kill())
	}
	return x, nil
}

// streamOptions say how the process gets its streams.
func (o *ExecOptions) streamOptions() (*Options, Owner) {
	s := &Options{
		Spec: &specs.Spec{Process: o.Process}, Engine: &o.Engine,
		Interactive: true, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr,
	}
	if !o.launchers {
		return s, OwnerNobody
	}
	s.Engine, s.Interactive, s.detachKeys, s.leave = nil, o.interactive, o.detachKeys, o.leave
	return s, OwnerLauncher
}

func (x *Exec) start(engine *libcontainer.Container, page *arm.Page, o *ExecOptions) (err error) {
	command := o.Process.Args[0]
	options, owner := o.streamOptions()
	streams, err := attach(x.process, options, owner)
	if err != nil {
		return err
	}
	x.streams = streams
	if config := engine.Config(); len(config.UIDMappings) > 0 {
		uid, err := config.HostUID(x.process.UID)
		if err != nil {
			return err
		}
		if err := streams.give(uid); err != nil {
			return err
		}
	}
	streams.begin()
	err = engine.Start(x.process)
	page.Started()
	if err != nil {
		x.process = nil // it has been waited for
		return startError(command, err)
	}
	if x.init, err = openInit(x.process); err != nil {
		return err
	}
	if err := page.WaitParked(); err != nil {
		return initError("run "+command, err)
	}
	if err := streams.started(); err != nil {
		return err
	}
	if page.Loaded() {
		listener, err := page.Install(x.init.pidfd)
		if err != nil {
			return initError("arm the seccomp filter", err)
		}
		if listener != nil {
			if err := o.Listener(listener, x.init.pid); err != nil {
				return err
			}
		}
	}
	if err := page.Exec(); err != nil {
		return err
	}
	if err := page.WaitExec(); err != nil {
		l := &launched{o: Options{Spec: &specs.Spec{Process: o.Process}}, init: x.init}
		return l.runError(err)
	}
	return nil
}

// PID returns the process's PID in the host's PID namespace.
func (x *Exec) PID() int { return x.init.pid }

// Wait waits for the process to end. The status is its own, or 128+n if signal n ended it.
func (x *Exec) Wait() (int, error) { return x.wait(nil) }

// wait is Wait, which stop ends while output is being passed on.
func (x *Exec) wait(stop <-chan unix.Signal) (int, error) {
	defer x.Close()
	state, err := x.process.Wait()
	if state == nil {
		return 0, fmt.Errorf("wait for the process: %w", err)
	}
	return exitStatus(state), x.streams.drain(stop)
}

// Close releases the process, which continues to run.
func (x *Exec) Close() {
	if x.streams != nil {
		x.streams.close()
	}
	if x.init != nil {
		x.init.pidfd.Close()
	}
}

// Kill ends the process.
func (x *Exec) Kill() error {
	defer x.Close()
	if x.process == nil || x.init == nil {
		return nil
	}
	if err := x.init.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	_, _ = x.process.Wait()
	return nil
}

// hooksInside runs an engine's startContainer hooks in the container, with its state as
// their standard input.
func (c *Container) hooksInside(engine *libcontainer.Container) error {
	config := engine.Config()
	if !config.HasHook(configs.StartContainer) {
		return nil
	}
	state, err := engine.OCIState()
	if err != nil {
		return err
	}
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	for i, hook := range config.Hooks[configs.StartContainer] {
		command, ok := hook.(configs.CommandHook)
		if !ok {
			continue
		}
		if err := runInside(engine, &command, data); err != nil {
			return fmt.Errorf("run startContainer hook #%d, %s: %w", i, command.Path, err)
		}
	}
	return nil
}

func runInside(engine *libcontainer.Container, hook *configs.CommandHook, state []byte) error {
	var output bytes.Buffer
	page, err := arm.New(0, nil, append([]string{hook.Path}, hook.Args[min(1, len(hook.Args)):]...), hook.Env)
	if err != nil {
		return err
	}
	defer page.Close()
	page.Join()
	process := &libcontainer.Process{
		Args: []string{hook.Path}, Env: hook.Env, Cwd: "/",
		Stdin: bytes.NewReader(state), Stdout: &output, Stderr: &output, ExtraFiles: page.Files(),
	}
	err = engine.Start(process)
	page.Started()
	if err != nil {
		return trimmedError(err.Error())
	}
	var late atomic.Bool
	if hook.Timeout != nil {
		timer := time.AfterFunc(*hook.Timeout, func() {
			late.Store(true)
			_ = process.Signal(unix.SIGKILL)
		})
		defer timer.Stop()
	}
	err = errors.Join(page.WaitParked(), page.Exec(), page.WaitExec())
	if err != nil {
		_ = process.Signal(unix.SIGKILL)
		_, _ = process.Wait()
	} else {
		_, err = process.Wait() // also until nothing that the hook has left holds its output, as in runc
	}
	if err == nil {
		return nil
	}
	if late.Load() {
		err = fmt.Errorf("hook ran past specified timeout of %.1fs", hook.Timeout.Seconds()) // libcontainer's words
	}
	if text := bytes.TrimSpace(output.Next(4096)); len(text) > 0 {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}
