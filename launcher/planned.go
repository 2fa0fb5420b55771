package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/configs/validate"
	"github.com/opencontainers/runc/libcontainer/exeseal"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/arm"
	"github.com/minirun/minirun/launcher/plan"
)

// makePlan returns the plan of a container, or nil when libcontainer's init is to set it
// up: since the options say so, or no plan can express it.
func (c *Container) makePlan(l *launched, config *configs.Config) (*plan.Plan, error) {
	if l.o.InitBy == InitByLibcontainer {
		return nil, nil
	}
	p, err := c.newPlan(l, config)
	if l.o.Planned != nil {
		l.o.Planned(p, err)
	}
	var why plan.NotExpressible
	if errors.As(err, &why) {
		return nil, nil
	}
	return p, err
}

func (c *Container) newPlan(l *launched, config *configs.Config) (*plan.Plan, error) {
	switch {
	case c.state.Systemd:
		return nil, plan.NotExpressible("a cgroup of systemd's")
	case !recursiveReadOnly():
		return nil, plan.NotExpressible("a kernel without mount_setattr(2), before Linux 5.12")
	}
	if err := validate.Validate(config); err != nil {
		return nil, &Error{Op: "create container", Err: err}
	}
	host, err := plan.Inspect(config, l.cgroup.paths())
	if err != nil {
		return nil, &Error{Op: "create container", Err: err}
	}
	return plan.New(plan.Container{
		ID: c.state.key(), Config: config, Process: l.command, Console: l.consoleNumber(), Joined: l.joinedNumber(), Filter: l.o.Filter != nil,
		Users: c.ids != nil,
	}, host)
}

// firstFile is the number of the first of a process's ExtraFiles.
const firstFile = 3

// consoleNumber is that of the terminal's socket in init. It comes after the files that
// the command gets.
func (l *launched) consoleNumber() int { return firstFile + len(l.command.ExtraFiles) }

// joinedNumber is that of the first namespace that init joins.
func (l *launched) joinedNumber() int {
	n := l.consoleNumber()
	if l.command.ConsoleSocket != nil {
		n++
	}
	return n
}

// planned is an init that carries out a plan.
type planned struct{ *os.Process }

func (p planned) Pid() (int, error) { return p.Process.Pid, nil }

// writePlan makes the files that init gets for a plan: the namespaces that it joins, its
// steps, and what it is run from, a read-only view or a copy of minirun's binary, so that the container cannot get at
// the host's (CVE-2019-5736).
func (l *launched) writePlan(runRoot string) error {
	if err := os.MkdirAll(runRoot, 0o700); err != nil {
		return err
	}
	for _, path := range l.plan.Joined {
		ns, err := os.Open(path)
		if err != nil {
			return err
		}
		l.planFiles = append(l.planFiles, ns)
	}
	for _, source := range l.plan.Opened {
		tree, err := openSource(source)
		if err != nil {
			return hint.With(&Error{Op: "mount " + source.Path + " at " + source.Target, Err: err}, mountPointHelp(err.Error()))
		}
		l.planFiles = append(l.planFiles, tree)
	}
	exe, err := exeseal.CloneSelfExe(runRoot)
	if err != nil {
		return err
	}
	steps, err := l.plan.Write()
	if err != nil {
		exe.Close()
		return err
	}
	l.planFiles = append(l.planFiles, steps, exe)
	return nil
}

func (l *launched) closePlan() {
	for _, f := range l.planFiles {
		f.Close()
	}
	l.planFiles = nil
}

// startPlanned starts an init that carries out the plan. It is born in the cgroup of
// version 2, if there is one.
func (l *launched) startPlanned() (startedInit, error) {
	standard, err := standardFiles(l.command.Stdin, l.command.Stdout, l.command.Stderr)
	if err != nil {
		return nil, err
	}
	defer standard.close()
	defer l.closePlan()
	files := append(standard.files[:], l.command.ExtraFiles...)
	if l.command.ConsoleSocket != nil {
		files = append(files, l.command.ConsoleSocket)
	}
	files = append(files, l.planFiles...)
	planNumber := len(files) - 2
	attr := &os.ProcAttr{
		Dir: "/", Env: []string{arm.PlanVariable(planNumber)}, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: l.plan.Cloned},
	}
	path := "/proc/self/fd/" + strconv.Itoa(planNumber+1)
	process, err := l.startInCgroup(path, attr)
	if err != nil || !l.plan.Forks {
		return planned{process}, err
	}
	return l.forked(process)
}

// forked waits for a process that init is a child of, and returns init, which is a child of
// this process too.
func (l *launched) forked(first *os.Process) (startedInit, error) {
	state, err := first.Wait()
	if err != nil {
		return nil, err
	}
	if pid := l.page.Init(); pid != 0 {
		process, err := os.FindProcess(pid)
		return planned{process}, err
	}
	if err := l.page.Failure(); err != nil {
		return nil, l.runError(err)
	}
	return nil, fmt.Errorf("%w: %v", arm.ErrInitDied, state)
}

// openSource opens what is to be mounted in a container whose init may not come to it.
func openSource(s plan.Source) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if s.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, s.Path, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), s.Path), nil
}

// startInCgroup starts a program in the cgroup of version 2, unless there is none, or
// clone3(2) is not to be had: Docker's filter answers it with ENOSYS. Then init moves
// there by itself.
func (l *launched) startInCgroup(path string, attr *os.ProcAttr) (*os.Process, error) {
	args := []string{os.Args[0], "init"}
	unified := l.cgroup.paths()[""]
	if unified == "" {
		return os.StartProcess(path, args, attr)
	}
	cgroup, err := os.OpenFile(unified, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer cgroup.Close()
	l.page.BornIn(true)
	attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(cgroup.Fd())
	process, err := os.StartProcess(path, args, attr)
	if errors.Is(err, unix.ENOSYS) {
		l.page.BornIn(false)
		attr.Sys.UseCgroupFD = false
		return os.StartProcess(path, args, attr)
	}
	return process, err
}

// standard are a process's standard files.
type standard struct {
	files  []*os.File
	opened []*os.File // /dev/null
}

// standardFiles returns the files of a process; /dev/null where one is nil.
func standardFiles(in io.Reader, out, err io.Writer) (*standard, error) {
	s := &standard{}
	for _, v := range []struct {
		file any
		mode int
	}{{in, os.O_RDONLY}, {out, os.O_WRONLY}, {err, os.O_WRONLY}} {
		f, _ := v.file.(*os.File)
		if f == nil {
			var err error
			if f, err = os.OpenFile(os.DevNull, v.mode, 0); err != nil {
				s.close()
				return nil, err
			}
			s.opened = append(s.opened, f)
		}
		s.files = append(s.files, f)
	}
	return s, nil
}

func (s *standard) close() {
	for _, f := range s.opened {
		f.Close()
	}
}

// runPlannedHooks runs the hooks that a plan's init waits for.
func (c *Container) runPlannedHooks(l *launched, config *configs.Config) error {
	if l.plan == nil || !config.HasHook(plan.Hooks()...) {
		return nil
	}
	if err := l.page.WaitForHooks(); err != nil {
		return l.runError(err)
	}
	state := &specs.State{Version: specs.Version, ID: c.state.key(), Pid: l.init.pid, Status: specs.StateCreating}
	state.Bundle, state.Annotations = utils.Annotations(config.Labels)
	for _, name := range plan.Hooks() {
		if err := config.Hooks.Run(name, state); err != nil {
			return &Error{Op: "create container", Err: err}
		}
	}
	return asError("create container", l.page.HooksDone())
}

// planError words what init says of a step of its plan. It says the same as stepError
// and startError of the same failure in libcontainer's init.
func (l *launched) planError(e *arm.Error) error {
	if e.At < 0 || e.At >= len(l.plan.Steps) {
		return &Error{Op: "start container", Err: fmt.Errorf("begin the plan: %w", e.Errno)}
	}
	s := l.plan.Steps[e.At]
	why, failed := error(e.Errno), func(op string, cause Cause, help string) error {
		return hint.With(&Error{Op: op, Err: e.Errno, Cause: cause}, help)
	}
	switch s.Kind {
	case arm.Mount, arm.Bind:
		if reason := l.mountReason(s, e.Reason); reason != nil {
			why = reason
		}
		return hint.With(&Error{Op: "mount " + s.Source + " at " + s.Path, Err: why}, mountPointHelp(why.Error()))
	case arm.Node:
		return failed("make the device "+s.Path, CauseDevice, "")
	case arm.Rlimit:
		return failed("--ulimit "+rlimitName(strconv.Itoa(int(s.Number))), 0, ulimitHelp)
	case arm.OOMScore:
		return failed("--oom-score-adj "+s.Path, 0, oomScoreHelp)
	case arm.AppArmor:
		return failed("apply the AppArmor profile", 0, appArmorHelp)
	case arm.Directory:
		return failed("make the working directory "+e.Path, CauseWorkdir, "")
	case arm.Enter:
		return failed("enter the working directory "+s.Path, CauseEnterWorkdir, "")
	case arm.Sysctl:
		return failed("set the kernel parameter "+s.Path[len("sys/"):], CauseSysctl, "")
	case arm.Join:
		return failed("join the namespace "+s.Path, 0, "")
	case arm.HostName:
		return failed("set the host name", CauseHostname, "")
	case arm.Command:
		return lookupFailed(l.o.Spec.Process.Args[0], e)
	}
	err := &Error{Op: "start container", Err: otherReason(s, e)}
	if e.Reason == arm.NotNull || e.Reason == arm.NotPtmx || slices.Contains([]arm.Kind{arm.Link, arm.Null, arm.Console}, s.Kind) {
		return hint.With(err, replacedHelp)
	}
	return err
}

// otherReason says which of the container's own files a step failed at.
func otherReason(s arm.PlanStep, e *arm.Error) error {
	switch {
	case e.Reason == arm.NotNull:
		return errors.New("/dev/null is not the null device")
	case e.Reason == arm.NotPtmx:
		return errors.New("/dev/pts/ptmx is not a devpts's")
	case s.Kind == arm.Null:
		return fmt.Errorf("open /dev/null: %w", e.Errno)
	case s.Kind == arm.Console:
		return fmt.Errorf("make the terminal /dev/console: %w", e.Errno)
	}
	return fmt.Errorf("%v %s: %w", s.Kind, s.Path, e.Errno)
}

// mountReason says why something was not mounted, if the errno does not say it.
func (l *launched) mountReason(s arm.PlanStep, r arm.Reason) error {
	place := strconv.Quote(filepath.Join("/", s.Path))
	switch r {
	case arm.NotADirectory:
		return fmt.Errorf("filesystem %q must be mounted on ordinary directory", s.Type)
	case arm.InsideProc:
		return errors.New(place + " cannot be mounted because it is inside /proc")
	case arm.NotProc:
		return errors.New(place + " cannot be mounted because it is not of type proc")
	case arm.AtTheRoot:
		return errors.New("it leads to the root itself")
	}
	return nil
}

// lookupFailed is the error of a command that init has not found.
func lookupFailed(command string, e *arm.Error) error {
	switch e.Reason {
	case arm.NotInPath:
		return notInPath(command)
	case arm.InWorkingDirectory:
		return &Error{Op: "run " + command, Err: errors.New("cannot run executable found relative to current directory"), Code: StatusNotExecutable}
	}
	if e.Errno == unix.ENOENT {
		return notFound(command, e.Errno)
	}
	return &Error{Op: "run " + command, Err: e.Errno, Code: StatusNotExecutable}
}
