package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/userns"
)

func (a *app) execCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "exec",
		Usage:     "run a command in a container that runs",
		ArgsUsage: "CONTAINER COMMAND [ARG...]",
		Description: `The command has the container's namespaces, cgroup, user, capabilities and environment,
and is under its filter, also with --privileged. It ends with this minirun, which passes
signals on, or with the container. The exit status is the command's own; 126 if it
cannot be invoked, 127 if it was not found, 1 if the container does not run.`,
		Flags: []ucli.Flag{
			toggle("", "interactive", "i", "pass on standard input"),
			toggle("", "tty", "t", "give the command a terminal"),
			list("", "env", "e", "set an environment variable, `NAME[=VALUE]`; without a value, to minirun's own").with(variables),
			list("", "env-file", "", "set the variables that `FILE` lists").with(files()),
			text("", "user", "u", "run as `USER[:GROUP]`, names of the container or numbers"),
			text("", "workdir", "w", "start in `DIR`"),
			toggle("", "privileged", "", "give all capabilities"),
			toggle("", "detach", "d", "do not wait: nobody sees what the command writes"),
			text("", "detach-keys", "", "with -it, leave the command by `KEYS`, such as ctrl-p,ctrl-q"),
		},
		Action: a.execAction,
	}
}

func (a *app) execAction(c *ucli.Context) error {
	if err := checkArgs(c, 2, -1); err != nil {
		return err
	}
	o := launcher.EnterOptions{
		Args: c.Args().Tail(), User: c.String("user"), Workdir: c.String("workdir"), Privileged: c.Bool("privileged"),
		Terminal: c.Bool("tty"), Interactive: c.Bool("interactive"), Detached: c.Bool("detach"),
		Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr,
	}
	keys, err := parseDetachKeys(c.String("detach-keys"))
	if err != nil {
		return err
	}
	background := o.Detached && o.Terminal // a process has to serve the terminal
	if background && os.Getenv(supervisorVariable) == "" {
		_, err := a.startSupervisor(os.Args[1:], nil)
		return err
	}
	switch {
	case background:
		o.Detached, o.Interactive, o.Stdin = false, false, nil
	case o.Detached:
		o.Interactive = false
	case o.Terminal && o.Interactive && !isTerminal(a.stdin):
		return refused("leave out -t when input comes from a pipe or file", "the input device is not a TTY")
	}
	if c.IsSet("detach-keys") && o.Terminal && o.Interactive {
		if os.Getenv(supervisorVariable) == "" {
			return a.execForeground(c)
		}
		o.DetachKeys, o.Leave = keys, a.leaveTerminal()
	}
	if o.Env, err = environmentFlags(c.StringSlice("env-file"), c.StringSlice("env")); err != nil {
		return err
	}
	name := c.Args().First()
	container, err := a.findContainer(c, name)
	if err != nil {
		return err
	}
	if err := running(container); err != nil {
		return err
	}
	if err := userns.Join(container.Known().PID); err != nil {
		return err
	}
	if container.Frozen() {
		return refused("'minirun unpause' has it go on", "container %s is paused, unpause the container before exec", printable(name))
	}
	if background {
		o.Ready = a.leave()
	}
	runtime.LockOSThread() // the command ends with the thread that starts it
	relay, err := launcher.NewRelay()
	if err != nil {
		return err
	}
	code, err := container.Enter(o, relay)
	return execOutcome(container, code, err)
}

// leave returns a function that a process in the background calls once its command runs. It
// reports to the user's process, and gives up the user's files and working directory.
func (a *app) leave() func() {
	number, _ := strconv.Atoi(os.Getenv(supervisorVariable))
	os.Unsetenv(supervisorVariable)
	unix.CloseOnExec(number)
	started := os.NewFile(uintptr(number), "started")
	return func() {
		leaveDirectory()
		launcher.CloseGiven()
		if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
			_ = unix.Dup3(int(null.Fd()), int(os.Stderr.Fd()), 0)
		}
		_, _ = started.WriteString("started") // the user's process may have been killed
		started.Close()
	}
}

// execForeground runs exec in a child, which this process waits for, so that the child can stay
// when the keys to detach are typed. A child whose parent is killed ends before.
func (a *app) execForeground(c *ucli.Context) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	own, childs := os.NewFile(uintptr(pair[0]), "detached"), os.NewFile(uintptr(pair[1]), "detached")
	defer own.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0], cmd.ExtraFiles = os.Args[0], []*os.File{childs}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	cmd.Env = append(append(os.Environ(), supervisorVariable+"=3"), userns.Environ()...)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)
	err = cmd.Start()
	childs.Close()
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	go func() {
		for sig := range signals {
			_ = cmd.Process.Signal(sig) // it may have ended
		}
	}()
	if n, _ := own.Read(make([]byte, 16)); n > 0 { // else the child has ended
		return &containerError{err: launcher.ErrDetached, hint: "the command runs on: 'minirun top " + c.Args().First() + "' shows it"}
	}
	if err := cmd.Wait(); !errors.As(err, new(*exec.ExitError)) {
		return err
	}
	if ended, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ended.Signaled() {
		return status(128 + int(ended.Signal()))
	}
	return status(cmd.ProcessState.ExitCode())
}

// leaveTerminal returns what such a child does when the keys are typed. It serves the command's
// terminal on, in a session of its own.
func (a *app) leaveTerminal() func() {
	number, _ := strconv.Atoi(os.Getenv(supervisorVariable))
	leave, left := a.leave(), atomic.Bool{}
	fd, err := unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 3)
	parent := os.NewFile(uintptr(fd), "parent")
	go func() {
		if _, _ = parent.Read(make([]byte, 1)); err == nil && !left.Load() { // the command ends with this process
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		}
	}()
	return func() {
		left.Store(true)
		_, _ = unix.Setsid() // the terminal's end is not the command's any more
		if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
			_, _ = unix.Dup3(int(null.Fd()), int(os.Stdin.Fd()), 0), unix.Dup3(int(null.Fd()), int(os.Stdout.Fd()), 0)
		}
		leave()
	}
}

// running returns an error unless a container runs.
func running(container *launcher.Container) error {
	if container.Known().Status != launcher.StatusRunning {
		return notRunning(container)
	}
	return nil
}

func notRunning(container *launcher.Container) error {
	return refused("'minirun ps -a' shows what has become of it", "container %s is not running", container.ID())
}

// execOutcome returns what exec ends with. As with docker, the status is 126 for any error that
// keeps a command from being started in a running container.
func execOutcome(container *launcher.Container, code int, err error) error {
	var state *launcher.StateError
	var failed *launcher.Error
	switch {
	case errors.As(err, &state):
		return notRunning(container)
	case errors.As(err, new(*launcher.DamagedError)):
		return &containerError{err: err}
	case errors.As(err, &failed) && failed.Code == 0:
		failed.Code = launcher.StatusNotExecutable
	case err == nil && code != 0:
		return status(code)
	}
	return err
}
