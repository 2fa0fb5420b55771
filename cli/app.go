// Package cli is minirun's command line. It turns arguments into calls of rootfs, seccomp
// and launcher, and their results into text and exit statuses.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/userns"
	"github.com/minirun/minirun/oci"
	"github.com/minirun/minirun/rootfs"
	"github.com/minirun/minirun/seccomp/bpf"
)

// version is set by the linker (see Makefile).
var version string

// app is one run of the command line.
type app struct {
	ui     *ui
	stdin  *os.File
	stdout *os.File
	stderr *os.File

	again *again // the container that is started again, or nil
}

// Main runs the command line args, where args[0] is the program's name, and returns the
// exit status: the container's own, or the error's, which is 125 as with `docker run` unless
// the error says otherwise.
func Main(args []string, stdin, stdout, stderr *os.File) int {
	a := &app{ui: newUI(stderr), stdin: stdin, stdout: stdout, stderr: stderr}
	if err := userns.Settle(); err != nil {
		return a.exitCode(err)
	}
	if rest, ok := oci.Called(args); ok {
		return oci.Main(rest, versionText(), observeForEngine, stdin, stdout, stderr)
	}
	if remains, err := launcher.TakeRemains(a.ui.warning); remains != nil || err != nil {
		return a.exitCode(doRemains(remains, err))
	}
	return a.exitCode(a.main(args))
}

// doRemains does the task that a launcher in C has left to this process.
func doRemains(r *launcher.Remains, err error) error {
	if err != nil {
		return err
	}
	code, err := r.Do()
	if err == nil && code != 0 {
		return status(code)
	}
	return err
}

func (a *app) main(args []string) error {
	app := a.newApp()
	arranged, err := arrange(app, args[1:])
	if err != nil {
		return err
	}
	if arranged.help != nil {
		return writeHelp(a.stdout, app, arranged.help)
	}
	return withUsage(arranged.verb, app.Run(append([]string{app.Name}, arranged.args...)))
}

// newApp describes the command line to cli v2, which only finds the verb and holds the values
// of flags: [arrange] has separated flags and arguments before. cli v2's own help is off,
// since it would take -h, which is the host name here, and the words help and h.
func (a *app) newApp() *ucli.App {
	ucli.HelpFlag = nil
	app := &ucli.App{
		Name:                      "minirun",
		Usage:                     "run a command in a container, without a daemon",
		Flags:                     globalFlags(),
		DisableSliceFlagSeparator: true,
		HideHelp:                  true,
		HideVersion:               true,
		Writer:                    a.stdout,
		ErrWriter:                 a.stderr,
		Before:                    a.before,
		ExitErrHandler:            func(*ucli.Context, error) {}, // or cli v2 would call os.Exit
		OnUsageError:              onUsageError,
		Commands:                  a.commands(),
	}
	prepare(app.Commands)
	return app
}

// commands returns the verbs, in the order in which help lists them.
func (a *app) commands() []*ucli.Command {
	run := a.runCommand()
	return []*ucli.Command{
		run,
		a.psCommand(),
		a.createCommand(run.Flags),
		a.startCommand(),
		a.restartCommand(),
		a.attachCommand(),
		a.execCommand(),
		a.inspectCommand(),
		a.logsCommand(),
		a.stopCommand(),
		a.killCommand(),
		a.waitCommand(),
		a.pauseCommand(),
		a.unpauseCommand(),
		a.topCommand(),
		a.statsCommand(),
		a.portCommand(),
		a.cpCommand(),
		a.containerDiffCommand(),
		a.updateCommand(run.Flags),
		a.renameCommand(),
		a.rmCommand(),
		a.pullCommand(),
		a.imagesCommand(),
		a.rmiCommand(),
		a.tagCommand(),
		a.historyCommand(),
		a.saveCommand(),
		a.loadCommand(),
		a.importCommand(),
		a.pushCommand(),
		a.verifyCommand(),
		a.duCommand(),
		a.pruneCommand(),
		a.bootstrapCommand(),
		a.seccompCommand(),
		a.doctorCommand(),
		ociCommand(),
		a.completionCommand(),
		a.versionCommand(),
		helpCommand(),
		a.completeCommand(),
	}
}

// prepare sets what all commands have in common.
func prepare(commands []*ucli.Command) {
	for _, c := range commands {
		c.HideHelp = true
		c.OnUsageError = onUsageError
		prepare(c.Subcommands)
	}
}

func (a *app) runCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "run",
		Usage:     "run a command in a new container; the verb may be left out",
		ArgsUsage: "IMAGE [COMMAND [ARG...]]",
		Flags:     runFlags(),
		Action: func(c *ucli.Context) error {
			return misplacedFlag(c.Args().Slice(), a.runAction(c))
		},
	}
}

// helpCommand only lists help among the verbs: [arrange] answers it.
func helpCommand() *ucli.Command {
	return &ucli.Command{Name: "help", Usage: "show help", ArgsUsage: "[VERB]"}
}

// ociCommand only lists oci among the verbs: package oci answers it.
func ociCommand() *ucli.Command {
	return &ucli.Command{
		Name: "oci", Usage: "be the OCI runtime of containerd, dockerd or Podman", ArgsUsage: "VERB [ARG...]",
		Description: `'minirun oci --help' lists the verbs and flags, which are those of runc.`,
		Action: func(*ucli.Context) error {
			return &usageError{"oci: flags come after the verb", "'minirun oci --help' lists them"}
		},
	}
}

func (a *app) versionCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "version",
		Usage: "print the version",
		Action: func(c *ucli.Context) error {
			if err := checkArgs(c, 0, 0); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.stdout, "minirun %s %s/%s %s\n", versionText(), runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// before applies the global flags.
func (a *app) before(c *ucli.Context) error {
	logrus.SetOutput(a.ui)
	logrus.SetFormatter(logFormatter{a.ui})
	logrus.SetLevel(logrus.ErrorLevel) // libcontainer's warnings mean nothing to a user
	if c.Bool("debug") {
		logrus.SetLevel(logrus.DebugLevel)
	}
	return nil
}

// dirs returns the directories of the store and of the state of containers: those of the
// flags, else the system's for root, and those of the XDG Base Directory Specification for
// other users. A store of another user is an error, also for root, which would leave files
// there that their owner cannot remove.
func dirs(c *ucli.Context) (launcher.Dirs, error) {
	d := launcher.Dirs{Root: c.String("root"), RunRoot: c.String("run-root")}
	var err error
	if d.Root == "" {
		d.Root, err = defaultRoot()
	} else {
		d.Root, err = absolute("--root", d.Root)
	}
	if err == nil {
		err = rootfs.CheckRoot(d.Root)
	}
	if err == nil {
		d.Root, err = userRoot(d.Root)
	}
	if err != nil {
		return d, err
	}
	if d.RunRoot == "" {
		d.RunRoot = defaultRunRoot()
	} else {
		d.RunRoot, err = absolute("--run-root", d.RunRoot)
	}
	return d, err
}

// absolute returns a flag's path as an absolute one.
func absolute(flag, path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil { // getwd(2) fails
		return "", &usageError{flag + " " + path + ": the working directory was removed", "give a path from /, or change to another directory"}
	}
	return abs, nil
}

func defaultRoot() (string, error) {
	if !isUsers() {
		return "/var/lib/minirun", nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "minirun"), nil
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", &usageError{message: fmt.Sprintf("--root: HOME is %q, not a path from /", home), hint: "set HOME, or give --root DIR"}
	}
	return filepath.Join(home, ".local", "share", "minirun"), nil
}

func defaultRunRoot() string {
	if !isUsers() {
		return "/run/minirun"
	}
	if run := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(run) {
		return filepath.Join(run, "minirun")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("minirun-%d", userns.UID()))
}

// interrupted is the error of work that SIGINT or SIGTERM ended.
type interrupted syscall.Signal

func (i interrupted) Error() string { return "interrupted by " + unix.SignalName(syscall.Signal(i)) }
func (i interrupted) ExitCode() int { return 128 + int(i) }

// interruptible returns a context that SIGINT, SIGTERM and SIGHUP cancel, with an
// [interrupted] as its cause, so that the work can clean up. After stop the signals
// have their default effect again.
func interruptible(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case s := <-signals:
			cancel(interrupted(s.(syscall.Signal)))
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// causeOf returns the signal that interrupted the work under ctx, if err is not nil and there
// was one, else err.
func causeOf(ctx context.Context, err error) error {
	var i interrupted
	if err != nil && errors.As(context.Cause(ctx), &i) {
		return i
	}
	return err
}

// status is an exit status without a message: a container's own, or that of a verb such as
// `seccomp diff`, whose output says it all.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// exitCode prints err and returns the status to exit with.
func (a *app) exitCode(err error) int {
	if err == nil {
		return 0
	}
	var s status
	if errors.As(err, &s) {
		return int(s)
	}
	a.ui.error(err)
	var intricate *bpf.IntricateError
	if errors.As(err, &intricate) {
		return 2 // there is no answer; status 1 means no
	}
	var coder interface{ ExitCode() int }
	var child *exec.ExitError // the status of a program that minirun ran is not minirun's
	if errors.As(err, &coder) && (!errors.As(err, &child) || coder != child) {
		return coder.ExitCode()
	}
	return launcher.StatusError
}
