// Package oci is the command line by which engines (containerd, dockerd, Podman, CRI-O)
// call an OCI runtime: verbs, flags, outputs, exit statuses and error texts are runc's. It
// is called as `minirun oci VERB`, or as a binary with the name minirun-runtime.
//
// Containers are [launcher.Container], with [launcher.OwnerNobody].
package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp/compile"
)

// BinaryName is the name under which the binary is an OCI runtime and nothing else.
const BinaryName = "minirun-runtime"

const systemRoot = "/run/minirun-oci"

// DefaultRoot returns the directory for the state of containers unless --root names another. A user
// has one in XDG_RUNTIME_DIR. As runc does, it takes root of a user namespace for a user, which is how
// Podman calls the runtime, unless USER is root, as in a container.
func DefaultRoot() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || !launcher.AsUser() || os.Geteuid() == 0 && os.Getenv("USER") == "root" {
		return systemRoot
	}
	return filepath.Join(dir, filepath.Base(systemRoot))
}

// cacheDir is the directory of compiled programs. All engines share it, although each has
// its own --root.
const cacheDir = "/var/lib/minirun/cache"

// Exit statuses that are not a container's own.
const (
	statusError = 1
	statusExec  = 255 // exec could not start its process
)

// command is one run of the command line.
type command struct {
	version               string
	observe               Observe
	stdin, stdout, stderr *os.File

	dirs     launcher.Dirs
	systemd  bool
	noCgroup bool
	logged   bool     // errors go to a log file, and so have to be printed as well
	logFlags []string // the flags that say so, for another process
}

// Called reports whether a command line is for this package, and returns what follows
// the name.
func Called(args []string) (rest []string, ok bool) {
	switch {
	case len(args) > 0 && filepath.Base(args[0]) == BinaryName:
		return args[1:], true
	case len(args) > 1 && args[1] == "oci":
		return args[2:], true
	}
	return nil, false
}

// Main runs a command line and returns its exit status: 1 for an error, 255 for an exec
// that did not start, else that of the process for verbs that wait for one.
func Main(args []string, version string, observe Observe, stdin, stdout, stderr *os.File) int {
	c := &command{version: version, observe: observe, stdin: stdin, stdout: stdout, stderr: stderr}
	return c.exitCode(c.app().Run(append([]string{BinaryName}, args...)))
}

// App describes the command line, for completion.
func App() *ucli.App { return (&command{}).app() }

func (c *command) app() *ucli.App {
	ucli.HelpFlag = &ucli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show help"}
	return &ucli.App{
		Name:                      BinaryName,
		Usage:                     "an OCI runtime, for engines to call",
		Writer:                    c.stdout,
		ErrWriter:                 c.stderr,
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*ucli.Context, error) {}, // or cli v2 would call os.Exit
		OnUsageError:              usageError,
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "root", Value: DefaultRoot(), Usage: "keep the state of containers in `DIR`"},
			&ucli.StringFlag{Name: "log", Usage: "write errors and warnings to `FILE` as well"},
			&ucli.StringFlag{Name: "log-format", Value: "text", Usage: "of the log: text or json"},
			&ucli.BoolFlag{Name: "debug", Usage: "log more"},
			&ucli.BoolFlag{Name: "systemd-cgroup", Usage: "systemd makes the cgroups: linux.cgroupsPath is SLICE:PREFIX:NAME"},
			&ucli.StringFlag{Name: "cgroup-manager", Value: "cgroupfs", Usage: "cgroupfs, systemd as --systemd-cgroup, or disabled, as crun has it"},
			&ucli.StringFlag{Name: "rootless", Usage: "accepted for runc's sake"},
			&ucli.StringFlag{Name: "criu", Usage: "accepted for runc's sake"},
			&ucli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version"},
		},
		Before: c.before,
		Action: func(ctx *ucli.Context) error {
			if ctx.Bool("version") {
				return c.printVersion()
			}
			if ctx.Args().Present() {
				return fmt.Errorf("%s: no such verb; '%s --help' lists them", ctx.Args().First(), BinaryName)
			}
			return ucli.ShowAppHelp(ctx)
		},
		Commands: c.verbs(),
	}
}

func (c *command) verbs() []*ucli.Command {
	verbs := []*ucli.Command{
		c.createCommand(),
		c.startCommand(),
		c.runCommand(),
		c.execCommand(),
		c.stateCommand(),
		c.killCommand(),
		c.deleteCommand(),
		c.listCommand(),
		c.psCommand(),
		c.pauseCommand(),
		c.resumeCommand(),
		c.updateCommand(),
		c.eventsCommand(),
		c.featuresCommand(),
		c.specCommand(),
		c.checkpointCommand("checkpoint"),
		c.checkpointCommand("restore"),
		c.superviseCommand(),
	}
	for _, v := range verbs {
		v.OnUsageError = usageError
		v.HideHelpCommand = true
	}
	return verbs
}

func usageError(_ *ucli.Context, err error, _ bool) error { return err }

// before applies the global flags.
func (c *command) before(ctx *ucli.Context) error {
	logrus.SetOutput(c.stderr)
	logrus.SetLevel(logrus.WarnLevel)
	if ctx.Bool("debug") {
		logrus.SetLevel(logrus.DebugLevel)
	}
	switch format := ctx.String("log-format"); format {
	case "json":
		logrus.SetFormatter(&logrus.JSONFormatter{})
	case "text", "":
	default:
		return fmt.Errorf("--log-format %s: use text or json", format)
	}
	if name := ctx.String("log"); name != "" {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("--log: %w", err)
		}
		logrus.SetOutput(f)
		c.logged = true
		abs, err := filepath.Abs(name)
		if err != nil {
			return fmt.Errorf("--log: %w", err)
		}
		c.logFlags = []string{"--log", abs, "--log-format", ctx.String("log-format")}
	}
	root, err := filepath.Abs(ctx.String("root"))
	if err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	c.dirs = launcher.Dirs{Root: root, RunRoot: filepath.Join(root, "libcontainer")}
	return c.setCgroups(ctx)
}

// setCgroups reads who makes cgroups. Podman asks crun for none by --cgroup-manager.
func (c *command) setCgroups(ctx *ucli.Context) error {
	c.systemd = ctx.Bool("systemd-cgroup")
	switch name := ctx.String("cgroup-manager"); name {
	case "cgroupfs":
	case "systemd":
		c.systemd = true
	case "disabled":
		c.systemd, c.noCgroup = false, true
	default:
		return fmt.Errorf("--cgroup-manager %s: use cgroupfs, systemd or disabled", name)
	}
	return nil
}

// printVersion prints what dockerd and containerd parse.
func (c *command) printVersion() error {
	_, err := fmt.Fprintf(c.stdout, "minirun version %s\nspec: %s\ngo: %s\nlibseccomp: %s\n",
		c.version, specs.Version, runtime.Version(), compile.LibraryVersion())
	return err
}

// status is the exit status of a process, without a message.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// execError is an exec that did not start.
type execError struct{ error }

func (e execError) Unwrap() error { return e.error }

// exitCode reports an error where engines look for it, in the log, and on standard
// error, and returns the status to end with.
func (c *command) exitCode(err error) int {
	if err == nil {
		return 0
	}
	var s status
	if errors.As(err, &s) {
		return int(s)
	}
	text := message(err)
	logrus.Error(text)
	if c.logged {
		_, _ = io.WriteString(c.stderr, text+"\n")
	}
	var exec execError
	if errors.As(err, &exec) {
		return statusExec
	}
	return statusError
}

// message is an error on one line, as engines pass it on to their users, with its hint.
func message(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	var e *launcher.Error
	if errors.As(err, &e) && e.ExitCode() == launcher.StatusNotExecutable && strings.HasSuffix(text, unix.EISDIR.Error()) {
		text += ": " + unix.EACCES.Error() // what execve(2) says: docker run 20.10 ends with 126 for this text only
	}
	if h := hint.Text(err); h != "" {
		text += " (hint: " + h + ")"
	}
	return text
}

// warn logs an error that does not end the work.
func (c *command) warn(err error) { logrus.Warn(message(err)) }

// checkArgs returns an error unless a verb has from least to most arguments; a negative
// most is no limit.
func checkArgs(ctx *ucli.Context, least, most int) error {
	n := ctx.NArg()
	if n < least {
		return fmt.Errorf("%s: too few arguments; usage: %s %s %s", ctx.Command.Name, BinaryName, ctx.Command.Name, ctx.Command.ArgsUsage)
	}
	if most >= 0 && n > most {
		return fmt.Errorf("%s: too many arguments: %s", ctx.Command.Name, strings.Join(ctx.Args().Slice()[most:], " "))
	}
	return nil
}

// onContainer returns the action of a verb whose first argument is a container; it has most
// arguments in all, or any number if that is negative.
func (c *command) onContainer(most int, do func(*ucli.Context, *launcher.Container) error) ucli.ActionFunc {
	return func(ctx *ucli.Context) error {
		if err := checkArgs(ctx, 1, most); err != nil {
			return err
		}
		container, err := c.open(ctx)
		if err != nil {
			return err
		}
		return do(ctx, container)
	}
}

// open finds the container that the first argument names. containerd looks for the words
// of the error.
func (c *command) open(ctx *ucli.Context) (*launcher.Container, error) {
	container, err := launcher.Open(c.dirs, ctx.Args().First(), c.warn)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("container %q: %w", ctx.Args().First(), errNotExist)
	}
	return container, err
}

var errNotExist = errors.New("container does not exist")
