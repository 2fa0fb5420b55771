package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
)

func (a *app) attachCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "attach",
		Usage:     "attach to a container in the background",
		ArgsUsage: "CONTAINER",
		Description: `Shows the output of a container that -d or 'minirun start' started, from now on, and passes
standard input on if it was launched with -i. If it has a terminal, ctrl-p ctrl-q detach and
leave it running; without one, signals are passed on. The exit status is the container's, or 1
after these keys.`,
		Flags: []ucli.Flag{
			text("", "detach-keys", "", "leave the container by `KEYS` instead, such as ctrl-a,d"),
			toggle("", "no-stdin", "", "pass on no input"),
			onByDefault(toggle("", "sig-proxy", "", "pass on signals")),
		},
		Action: a.attachAction,
	}
}

func (a *app) attachAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	keys, err := parseDetachKeys(c.String("detach-keys"))
	if err != nil {
		return err
	}
	container, err := a.findContainer(c, c.Args().First())
	if err != nil {
		return err
	}
	switch {
	case container.Frozen():
		return refused("'minirun unpause' has it go on", "you cannot attach to a paused container, unpause it first")
	case container.Known().Status != launcher.StatusRunning:
		return refused("'minirun start -a' starts it, and attaches to it", "you cannot attach to a stopped container, start it first")
	}
	o, flags, err := a.attachOptions(container, !c.Bool("no-stdin"))
	if err != nil {
		return err
	}
	o.DetachKeys = keys
	return a.attach(c, container, c.Bool("sig-proxy") && !flags.Terminal, func(ctx context.Context) (int, error) {
		return container.Attach(ctx, o)
	})
}

// attachOptions are this process's streams for a container, with standard input if that is
// asked for and the container takes any.
func (a *app) attachOptions(container *launcher.Container, input bool) (o launcher.AttachOptions, flags *config.Config, err error) {
	launch, err := container.Launch()
	if err != nil {
		return o, nil, &containerError{err: err}
	}
	if flags, err = config.Parse(launch.Flags); err != nil {
		return o, nil, &containerError{err: err}
	}
	o = launcher.AttachOptions{Stdout: a.stdout, Stderr: a.stderr, Terminal: flags.Terminal}
	if input && flags.Interactive {
		o.Stdin = a.stdin
	}
	if o.Terminal && o.Stdin != nil && !isTerminal(o.Stdin) {
		return o, nil, refused("run it in a terminal, or leave the input out: --no-stdin", "the input device is not a TTY")
	}
	return o, flags, nil
}

// attach attaches to a container, and ends with its status. Signals are passed on to it, or
// end the attachment.
func (a *app) attach(c *ucli.Context, container *launcher.Container, proxy bool, to func(context.Context) (int, error)) error {
	ctx := c.Context
	if proxy {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		defer passSignals(container, cancel)()
	} else {
		var stop func()
		ctx, stop = interruptible(ctx)
		defer stop()
	}
	code, err := to(ctx)
	switch {
	case errors.Is(err, launcher.ErrDetached):
		return &containerError{err: err, hint: "'minirun attach " + container.Name() + "' attaches to it again"}
	case errors.Is(err, launcher.ErrNotAttachable):
		return refused("'minirun exec -it' runs a shell in it; start it with -d to attach to it", "container %s is attached to the minirun that launched it", container.Name())
	case errors.Is(err, launcher.ErrDisconnected):
		return refused("'minirun attach "+container.Name()+"' attaches to it again, 'minirun logs' shows what it has written", "container %s runs on, but %w", container.Name(), err)
	case errors.Is(err, launcher.ErrLost):
		a.ui.warn("container %s: %v", container.Name(), err)
	case err != nil:
		return causeOf(ctx, err)
	}
	if err := a.released(ctx, container); err != nil { // so that ps shows its end from now on
		return err
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

// patienceWithReader is how long the rest of a container's output waits for a reader after a
// signal, as a launch does.
const patienceWithReader = time.Second

// passSignals passes the signals that this process gets on to a container, until stop is
// called. A signal that asks for the end of one that has ended ends the attachment.
func passSignals(container *launcher.Container, end context.CancelCauseFunc) (stop func()) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for got := range signals {
			switch sig := got.(unix.Signal); sig {
			case unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGWINCH: // this process's own
			default:
				err := container.Kill(sig)
				ends := sig == unix.SIGINT || sig == unix.SIGTERM || sig == unix.SIGHUP || sig == unix.SIGQUIT
				if err != nil && ends { // it has ended, or may have
					time.AfterFunc(patienceWithReader, func() { end(interrupted(sig)) })
				}
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

// startAttached starts one container, and attaches to it before its command runs.
func (a *app) startAttached(c *ucli.Context) error {
	if err := checkArgs(c, 1, -1); err != nil {
		return err
	}
	if c.NArg() > 1 {
		return &usageError{"start: you cannot start and attach multiple containers at once", "leave out -a and -i, or the other containers"}
	}
	keys, err := parseDetachKeys(c.String("detach-keys"))
	if err != nil {
		return err
	}
	container, err := a.findContainer(c, c.Args().First())
	if err != nil {
		return err
	}
	runs, err := alreadyRuns(container)
	if err != nil {
		return err
	}
	o, flags, err := a.attachOptions(container, c.Bool("interactive"))
	if err != nil {
		return err
	}
	o.DetachKeys = keys
	if runs {
		return unlessLeft(a.attach(c, container, !flags.Terminal, func(ctx context.Context) (int, error) {
			return container.Attach(ctx, o)
		}))
	}
	conn, theirs, err := o.Connection()
	if err != nil {
		return err
	}
	err = a.superviseAgain(c, container, theirs)
	theirs.Close()
	if errors.As(err, new(status)) { // it has said why
		err = status(1)
	}
	if err != nil {
		conn.Close()
		return err
	}
	return a.attachFromBeginning(c, container, !flags.Terminal, conn, o)
}

// runAttached launches a container in the background, and attaches to it before its command
// runs. The keys leave it running.
func (a *app) runAttached(c *ucli.Context, keys []byte) error {
	d, err := dirs(c)
	if err != nil {
		return err
	}
	o := launcher.AttachOptions{Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr, Terminal: true, DetachKeys: keys}
	conn, theirs, err := o.Connection()
	if err != nil {
		return err
	}
	id, err := a.startSupervisor(os.Args[1:], theirs)
	theirs.Close()
	if err != nil {
		conn.Close()
		return err
	}
	container, err := a.findContainer(c, id)
	if errors.Is(err, os.ErrNotExist) { // what it has written, and its status, are in the connection
		container, err = launcher.Removed(d, id), nil
	}
	if err != nil {
		conn.Close()
		return err
	}
	return a.attachFromBeginning(c, container, c.Bool("sig-proxy"), conn, o)
}

// attachFromBeginning attaches to a container that this process has started.
func (a *app) attachFromBeginning(c *ucli.Context, container *launcher.Container, proxy bool, conn net.Conn, o launcher.AttachOptions) error {
	return unlessLeft(a.attach(c, container, proxy, func(ctx context.Context) (int, error) {
		return container.AttachTo(ctx, conn, o)
	}))
}

// unlessLeft returns an error of who has started a container. As with docker it is none that
// the keys were pressed.
func unlessLeft(err error) error {
	if errors.Is(err, launcher.ErrDetached) {
		return nil
	}
	return err
}

// parseDetachKeys reads a list of keys as docker does: single characters, and ctrl- with a
// letter or one of @[\]^_; "" is ctrl-p,ctrl-q.
func parseDetachKeys(text string) (keys []byte, err error) {
	if text == "" {
		return []byte{'p' & 0x1f, 'q' & 0x1f}, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		control, is := strings.CutPrefix(name, "ctrl-")
		switch {
		case len(name) == 1:
			keys = append(keys, name[0])
		case is && len(control) == 1 && (control[0] >= 'a' && control[0] <= 'z' || slices.Contains([]byte(`@[\]^_`), control[0])):
			keys = append(keys, control[0]&0x1f)
		default:
			return nil, &usageError{"--detach-keys " + text + ": " + name + " is no key", "write characters and ctrl-LETTER, separated by commas: ctrl-p,ctrl-q"}
		}
	}
	return keys, nil
}
