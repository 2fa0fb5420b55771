package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/jsonlog"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/userns"
)

// supervisor is a launch in the background: the same program with the same arguments, in a
// session of its own. It is nil in the foreground.
//
// The process that the user started waits until the supervisor has written the container's
// ID to a pipe, or has ended: until then it reports errors as it does in the foreground.
type supervisor struct {
	started *os.File        // where the ID is written to; nil in the user's process
	first   *os.File        // the socket of one who is attached from the beginning, or nil
	log     *jsonlog.Limits // nil keeps no log
	tag     string          // the template of its tag
}

// supervisorVariable is in the environment of a supervisor, with the pipe's number, and after
// a comma that of the socket, if there is one.
const supervisorVariable = "_MINIRUN_SUPERVISOR"

// parent reports whether this is the process that the user started: the launch is done.
func (s *supervisor) parent() bool { return s != nil && s.started == nil }

// detached returns nil unless -d is given, or keys that leave a terminal. In the user's process
// it starts the supervisor, and returns once the container runs, or with these keys once
// the user has left it or it has ended.
func (a *app) detached(c *ucli.Context, flags *config.Config) (*supervisor, error) {
	number, socket, _ := strings.Cut(os.Getenv(supervisorVariable), ",")
	os.Unsetenv(supervisorVariable) // no -e NAME passes it on
	if creates(c) {
		return nil, nil
	}
	keys, err := parseDetachKeys(c.String("detach-keys"))
	if err != nil {
		return nil, err
	}
	leavable := c.IsSet("detach-keys") && flags.Terminal && flags.Interactive && !c.Bool("detach")
	switch {
	case leavable && len(c.StringSlice("attach")) > 0:
		return nil, &usageError{"conflicting options: cannot specify both --attach and --detach-keys", "leave one of them out"}
	case !c.Bool("detach") && !leavable:
		for _, name := range []string{"log-driver", "log-opt"} {
			if c.IsSet(name) && c.String(name) != "none" {
				return nil, &usageError{"--" + name + ": without -d there is no log", "the output is minirun's own: redirect it, or add -d"}
			}
		}
		return nil, nil
	case len(c.StringSlice("attach")) > 0:
		return nil, &usageError{"conflicting options: cannot specify both --attach and --detach", "leave one of them out"}
	}
	s := &supervisor{}
	if s.log, s.tag, err = logOptionsOf(c); err != nil {
		return nil, err
	}
	if fd, err := strconv.Atoi(number); err == nil {
		unix.CloseOnExec(fd)
		s.started = os.NewFile(uintptr(fd), "started")
		if fd, err := strconv.Atoi(socket); err == nil {
			unix.CloseOnExec(fd)
			s.first = os.NewFile(uintptr(fd), "attached")
		}
		return s, nil
	}
	if leavable {
		if err := launcher.CheckTerminal(flags, a.stdin); err != nil {
			return nil, err
		}
		return s, a.runAttached(c, keys)
	}
	id, err := a.startSupervisor(os.Args[1:], nil)
	if err == nil {
		_, err = fmt.Fprintln(a.stdout, id)
	}
	return s, err
}

// logOptionsOf reads --log-driver and --log-opt. limits are nil if there is to be no log.
func logOptionsOf(c *ucli.Context) (limits *jsonlog.Limits, tag string, err error) {
	switch driver := c.String("log-driver"); driver {
	case "none":
		return nil, "", nil
	case "", "json-file":
	default:
		return nil, "", &usageError{"--log-driver " + driver + ": no such driver", "use json-file or none"}
	}
	limits = &jsonlog.Limits{Size: 10 << 20, Files: 3}
	for _, text := range c.StringSlice("log-opt") {
		name, value, _ := strings.Cut(text, "=")
		if name == "tag" {
			tag = value
			_, err = logTag{}.execute(tag)
		} else {
			err = setLogOption(limits, text, name, value)
		}
		if err != nil {
			return nil, "", err
		}
	}
	return limits, tag, nil
}

func setLogOption(l *jsonlog.Limits, text, name, value string) (err error) {
	switch name {
	case "max-size":
		if l.Size, err = units.FromHumanSize(value); value == "-1" {
			l.Size = 0
		} else if err != nil || l.Size <= 0 {
			return &usageError{"--log-opt " + text + ": invalid size", "write a number and k, m or g, or -1 for no limit"}
		}
	case "max-file":
		if l.Files, err = strconv.Atoi(value); err != nil || l.Files < 1 || l.Files > 1000 {
			return &usageError{"--log-opt " + text + ": max-file cannot be less than 1", "write how many files of max-size to keep"}
		}
	case "labels", "env": // see logDetails
	case "labels-regex", "env-regex":
		if _, err := regexp.Compile(value); err != nil {
			return &usageError{"--log-opt " + text + ": invalid regular expression", "see https://pkg.go.dev/regexp/syntax"}
		}
	default:
		return &usageError{
			"--log-opt " + text + ": unknown log opt '" + name + "' for json-file log driver",
			"the options are max-size, max-file, tag, labels, labels-regex, env and env-regex",
		}
	}
	return nil
}

// keeps reports whether the container stays when it has ended: with --rm=false, and, as
// Docker's, with -d unless --rm is given.
func keeps(c *ucli.Context) bool {
	return !c.Bool("rm") || c.Bool("detach") && !c.IsSet("rm")
}

// startSupervisor starts it with arguments, and a socket unless that is nil, and returns the container's ID when that runs.
// Signals that ask for the end are passed on to it until then. The error is a [status] if it
// has said itself what is wrong.
func (a *app) startSupervisor(args []string, socket *os.File) (id string, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr, cmd.ExtraFiles = a.stderr, []*os.File{w}
	numbers := "3"
	if socket != nil {
		cmd.ExtraFiles, numbers = append(cmd.ExtraFiles, socket), "3,4"
	}
	cmd.Env = append(append(os.Environ(), supervisorVariable+"="+numbers), userns.Environ()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return "", fmt.Errorf("start the supervisor: %w", err)
	}
	go func() {
		for sig := range signals {
			_ = cmd.Process.Signal(sig) // it may have ended
		}
	}()
	text, err := io.ReadAll(io.LimitReader(r, 64))
	if err == nil && len(text) > 0 {
		return string(text), cmd.Process.Release()
	}
	err = cmd.Wait()
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		if ws, ok := exited.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return "", fmt.Errorf("the supervisor was killed by %v before the container ran", unix.SignalName(ws.Signal()))
		}
		return "", status(exited.ExitCode())
	}
	return "", err
}

// logFile is the log in the container's directory.
const logFile = "json.log"

// attachLog has the container's output go to its log. Once it runs, all that minirun itself
// says goes there too, as standard error, and nothing of the user's process is held. end
// ends the log.
func (a *app) attachLog(s *supervisor, container *launcher.Container, o *launcher.Options) (end func(), err error) {
	if s == nil {
		return func() {}, nil
	}
	if s.log != nil {
		if o.Log, err = jsonlog.Append(filepath.Join(container.LauncherDir(), logFile), *s.log); err != nil {
			return nil, err
		}
	}
	if o.Attach, err = container.Attachable(s.first, o.About.Again != nil && o.About.Again.Attached); err != nil {
		return nil, err
	}
	if o.Rest != nil {
		o.Rest.Started = s.started
	}
	own, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = io.Copy(ownWords{o.Log}, own)
	}()
	ready := false
	o.Ready = func() {
		ready = true
		a.ui.plain()
		leaveDirectory()
		launcher.CloseGiven()
		_ = unix.Dup3(int(to.Fd()), int(os.Stderr.Fd()), 0)
		_, _ = s.started.WriteString(container.ID()) // the user's process may have been killed
		s.started.Close()
	}
	return func() {
		if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil && ready {
			_ = unix.Dup3(int(null.Fd()), int(os.Stderr.Fd()), 0)
		}
		o.Attach.Close()
		to.Close()
		<-said
		own.Close()
		if o.Log != nil {
			_ = o.Log.Close() // its end could not be written: there is nobody to tell
		}
	}, nil
}

// leaveDirectory has a supervisor keep no directory of the user's busy. This thread has a
// working directory of its own ([launcher.PrivateMounts]), the others share one.
func leaveDirectory() {
	_ = os.Chdir("/")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = os.Chdir("/")
	}()
	<-done
}

// ownWords puts what minirun says into a log, if there is one.
type ownWords struct{ log *jsonlog.Writer }

func (w ownWords) Write(text []byte) (int, error) {
	if w.log != nil {
		w.log.Write("stderr", text)
	}
	return len(text), nil
}
