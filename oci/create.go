package oci

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
)

func bundleFlags() []ucli.Flag {
	return append(processFlags(),
		&ucli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Value: ".", Usage: "the `DIR` of config.json and the root file system"},
		&ucli.BoolFlag{Name: "no-pivot", Usage: "enter the root by chroot, for one on a ramdisk"},
		&ucli.BoolFlag{Name: "no-new-keyring", Usage: "keep the session keyring"},
		&ucli.BoolFlag{Name: "no-mount-fallback", Usage: "accepted for runc's sake", Hidden: true},
	)
}

// processFlags are those of every verb that starts a process.
func processFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "console-socket", Usage: "send the terminal's master to the socket `PATH`"},
		&ucli.StringFlag{Name: "pidfd-socket", Usage: "send a pidfd of the process to the socket `PATH`"},
		&ucli.StringFlag{Name: "pid-file", Usage: "write the process's number to `FILE`"},
		&ucli.IntFlag{Name: "preserve-fds", Usage: "pass `N` more files on, from 3 on"},
	}
}

func (c *command) createCommand() *ucli.Command {
	return &ucli.Command{
		Name: "create", Usage: "make a container of a bundle, up to its command", ArgsUsage: "ID", Flags: bundleFlags(),
		Action: func(ctx *ucli.Context) error {
			_, err := c.create(ctx, false)
			return err
		},
	}
}

func (c *command) startCommand() *ucli.Command {
	return &ucli.Command{
		Name: "start", Usage: "have a created container's command run", ArgsUsage: "ID",
		Action: c.onContainer(1, func(_ *ucli.Context, container *launcher.Container) error { return c.startAndLeave(container) }),
	}
}

func (c *command) runCommand() *ucli.Command {
	return &ucli.Command{
		Name: "run", Usage: "create and start a container, and wait for its end", ArgsUsage: "ID",
		Flags: append(bundleFlags(),
			&ucli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait"},
			&ucli.BoolFlag{Name: "keep", Usage: "keep the container when it has ended"},
			&ucli.BoolFlag{Name: "no-subreaper", Usage: "accepted for runc's sake", Hidden: true},
		),
		Action: c.run,
	}
}

// create makes a container. In the foreground this process serves its terminal.
func (c *command) create(ctx *ucli.Context, foreground bool) (*launcher.Container, error) {
	if err := checkArgs(ctx, 1, 1); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("a container needs root")
	}
	launcher.Prime()
	pidFile, err := absolute(ctx.String("pid-file"))
	if err != nil {
		return nil, err
	}
	engine, err := c.engine(ctx)
	if err != nil {
		return nil, err
	}
	engine.Foreground, engine.NoPivot, engine.NoKeyring = foreground, ctx.Bool("no-pivot"), ctx.Bool("no-new-keyring")
	b, err := openBundle(ctx.String("bundle"))
	if err != nil {
		return nil, err
	}
	if err := checkConsole(b.spec.Process.Terminal, engine); err != nil {
		return nil, err
	}
	a, err := readAnnotations(b.spec, settingsFile)
	if err != nil {
		return nil, err
	}
	r := &record{OCIVersion: b.spec.Version, Bundle: b.dir, Annotations: b.spec.Annotations}
	f, err := c.containerFilter(b, a, r)
	if err != nil {
		return nil, err
	}
	b.spec.Process.Env = append(b.spec.Process.Env, listenEnv(engine.Files, ctx.Int("preserve-fds"))...)
	container, err := launcher.New(c.dirs, ctx.Args().First(), launcher.OwnerNobody, c.warn)
	if errors.Is(err, launcher.ErrNameInUse) {
		return nil, errors.New("container with given ID already exists")
	}
	if err != nil {
		return nil, err
	}
	engine.Plain = r.Watch == nil && os.Getenv(notifyVariable) == ""
	engine.Show = func(s launcher.State) ([]byte, error) { return newState(s, r).text() }
	err = r.save(container)
	if err == nil {
		err = offerNotify(b.spec, container)
	}
	if err == nil {
		err = container.Create(launcher.Options{
			Spec: b.spec, Engine: engine, Filter: f.instructions, FilterFlags: f.flags,
			Interactive: true, Stdin: c.stdin, Stdout: c.stdout, Stderr: c.stderr, Planned: planned,
		})
	}
	if err == nil {
		err = c.writePID(container, pidFile)
	}
	if err != nil {
		return nil, errors.Join(err, container.Delete())
	}
	return container, nil
}

// planned logs what sets the container up from inside.
func planned(_ fmt.Stringer, err error) {
	if err != nil {
		logrus.Debugf("init: libcontainer's: %v", err)
		return
	}
	logrus.Debug("init: by a plan")
}

func (c *command) writePID(container *launcher.Container, file string) error {
	state, err := container.State()
	if err != nil {
		return err
	}
	return writePID(file, state.PID)
}

// start starts a created container. The words for one that cannot be started any more
// are runc's.
func (c *command) start(container *launcher.Container) error {
	r, err := readRecord(container)
	if err != nil {
		return err
	}
	err = container.StartCreated(func(listener *os.File) error {
		state, err := container.State()
		if err != nil {
			listener.Close()
			return err
		}
		return passListener(listener, container, r, state.PID)
	}, c.supervisor(container, r))
	var refused *launcher.StateError
	switch {
	case !errors.As(err, &refused):
		return err
	case refused.Status == launcher.StatusStopped:
		return errors.New("cannot start a container that has stopped")
	default:
		return errors.New("cannot start an already running container")
	}
}

// startAndLeave returns when the command runs, or is ready if a service manager wants to know that.
func (c *command) startAndLeave(container *launcher.Container) error {
	n, err := listenNotify(container)
	if err != nil {
		return err
	}
	defer n.close()
	if err := c.start(container); err != nil || n == nil {
		return err
	}
	state, err := container.State()
	if err != nil {
		return err
	}
	return n.relay(state.PID, true)
}

// startAndWait returns the command's exit status.
func (c *command) startAndWait(container *launcher.Container) (code int, err error) {
	n, err := listenNotify(container)
	if err != nil {
		return 0, err
	}
	defer n.close()
	if err := c.start(container); err != nil {
		return 0, err
	}
	if n == nil {
		return container.Wait()
	}
	state, err := container.State()
	if err != nil {
		return 0, err
	}
	relayed := make(chan error, 1)
	go func() { relayed <- n.relay(state.PID, false) }()
	code, err = container.Wait()
	if rerr := <-relayed; rerr != nil {
		c.warn(rerr)
	}
	return code, err
}

// run is create, start, wait and delete.
func (c *command) run(ctx *ucli.Context) error {
	detach := ctx.Bool("detach")
	container, err := c.create(ctx, !detach)
	if err != nil {
		return err
	}
	if detach {
		if err := c.startAndLeave(container); err != nil {
			return errors.Join(err, container.Delete())
		}
		return nil
	}
	code, err := c.startAndWait(container)
	if err != nil || !ctx.Bool("keep") {
		err = errors.Join(err, container.Delete())
	}
	if err == nil && code != 0 {
		return status(code)
	}
	return err
}

// engine reads processFlags. The files are the process's for the rest of its life.
func (c *command) engine(ctx *ucli.Context) (*launcher.Engine, error) {
	e := &launcher.Engine{Systemd: c.systemd, NoCgroup: c.noCgroup}
	var err error
	if e.Console, err = dial("console-socket", ctx.String("console-socket")); err != nil {
		return nil, err
	}
	if e.Pidfd, err = dial("pidfd-socket", ctx.String("pidfd-socket")); err != nil {
		return nil, err
	}
	for fd := 3; fd < 3+activated()+ctx.Int("preserve-fds"); fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("--preserve-fds: file %d: %w", fd, err)
		}
		e.Files = append(e.Files, os.NewFile(uintptr(fd), fmt.Sprintf("preserved %d", fd)))
	}
	return e, nil
}

// dial connects to a socket that an engine listens on.
func dial(flag, path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	defer conn.Close()
	return conn.File()
}

// checkConsole refuses a terminal that nobody would serve, and a socket without a
// terminal to send.
func checkConsole(terminal bool, e *launcher.Engine) error {
	switch {
	case terminal && !e.Foreground && e.Console == nil:
		return errors.New("process.terminal: a container that is left needs --console-socket")
	case e.Console != nil && (!terminal || e.Foreground):
		return errors.New("--console-socket: the process has no terminal, or this command serves it")
	}
	return nil
}
