package cli

import (
	"context"
	"errors"
	"strconv"
	"time"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
)

func (a *app) stopCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "stop",
		Usage:     "ask containers to end, and kill those that do not",
		ArgsUsage: "CONTAINER...",
		Description: `A container gets its stop signal, SIGTERM unless it or its image says otherwise, and
SIGKILL if it still runs after 10 seconds, or what --stop-timeout said. Prints the
containers as they were named. One that has ended already is no error.`,
		Flags:  stopFlags(),
		Action: a.stopAction,
	}
}

func (a *app) stopAction(c *ucli.Context) error {
	policy, err := stopPolicy(c)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	return a.eachContainer(c, func(name string, container *launcher.Container) (string, error) {
		if err := container.Halt(ctx, policy); err != nil {
			return "", causeOf(ctx, err)
		}
		return printable(name), a.released(ctx, container)
	})
}

// stopFlags are the flags that stopPolicy reads.
func stopFlags() []ucli.Flag {
	return []ucli.Flag{
		text("", "signal", "s", "send `SIGNAL` instead of the stop signal").with(signals),
		orCalled(text("", "timeout", "t", "send SIGKILL after `SECONDS`; -1 is never"), "time"),
	}
}

func stopPolicy(c *ucli.Context) (p launcher.StopPolicy, err error) {
	if text := c.String("signal"); text != "" {
		if p.Signal, err = parseSignal(text); err != nil {
			return p, err
		}
	}
	if text := c.String("timeout"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return p, &usageError{"--timeout " + text + ": not a number", "write a number of seconds; -1 is no limit"}
		}
		given := int(seconds)
		p.Seconds = &given
	}
	return p, nil
}

func parseSignal(text string) (unix.Signal, error) {
	sig, err := config.ParseSignal(text)
	if err != nil {
		return 0, &usageError{"--signal " + text + ": " + err.Error(), "write a name or number of signal(7), for example SIGQUIT"}
	}
	return sig, nil
}

// patienceWithLauncher is how long released waits for a launcher, which may still be waiting
// for a reader of its output.
const patienceWithLauncher = 10 * time.Second

// released waits until the launcher of a container that has ended has finished with it, so
// that the name is free; but not longer than patienceWithLauncher.
func (a *app) released(ctx context.Context, container *launcher.Container) error {
	limited, cancel := context.WithTimeout(ctx, patienceWithLauncher)
	defer cancel()
	_, err := container.WaitEnd(limited)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		a.ui.warn("container %s has ended, but its minirun still waits for a reader of its output", container.Name())
	}
	return nil
}

func (a *app) killCommand() *ucli.Command {
	return &ucli.Command{
		Name:        "kill",
		Usage:       "send a signal to containers",
		ArgsUsage:   "CONTAINER...",
		Description: `The signal goes to the container's PID 1. Prints the containers as they were named.`,
		Flags:       []ucli.Flag{text("", "signal", "s", "send `SIGNAL` instead of SIGKILL").with(signals)},
		Action:      a.killAction,
	}
}

func (a *app) killAction(c *ucli.Context) error {
	sig := unix.SIGKILL
	if text := c.String("signal"); text != "" {
		var err error
		if sig, err = parseSignal(text); err != nil {
			return err
		}
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	return a.eachContainer(c, func(name string, container *launcher.Container) (string, error) {
		err := container.Kill(sig)
		var state *launcher.StateError
		if errors.As(err, &state) {
			return "", refused("'minirun ps -a' shows what has become of it", "cannot kill container: %s: container %s is not running", printable(name), container.ID())
		}
		if err == nil && sig == unix.SIGKILL {
			err = a.released(ctx, container)
		}
		return printable(name), err
	})
}

func (a *app) waitCommand() *ucli.Command {
	return &ucli.Command{
		Name:        "wait",
		Usage:       "wait until containers have ended, and print their exit statuses",
		ArgsUsage:   "CONTAINER...",
		Description: `The statuses are printed one a line, in the order of the arguments.`,
		Action:      a.waitAction,
	}
}

func (a *app) waitAction(c *ucli.Context) error {
	ctx, stop := interruptible(c.Context)
	defer stop()
	return a.eachContainer(c, func(name string, container *launcher.Container) (string, error) {
		code, err := container.WaitEnd(ctx)
		if errors.Is(err, launcher.ErrLost) {
			a.ui.warn("container %s: %v", printable(name), err)
			err = nil
		}
		return strconv.Itoa(code), err
	})
}
