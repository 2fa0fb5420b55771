package cli

import (
	"context"
	"errors"
	"os"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

func (a *app) startCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "start",
		Usage:     "run containers that were created, or have ended, in the background",
		ArgsUsage: "CONTAINER...",
		Description: `A container runs with the flags, the image and the filter that it was made with, on the
root that it has left. Its output is appended to its log. Prints the containers as they
were named; one that runs already is no error.`,
		Flags: []ucli.Flag{
			toggle("", "attach", "a", "show the output, and end with the container's status"),
			toggle("", "interactive", "i", "pass on standard input"),
			text("", "detach-keys", "", "leave the container by `KEYS` instead of ctrl-p,ctrl-q"),
		},
		Action: a.startAction,
	}
}

func (a *app) startAction(c *ucli.Context) error {
	if os.Getenv(supervisorVariable) != "" {
		return a.launchAgain(c)
	}
	if c.Bool("attach") || c.Bool("interactive") {
		return a.startAttached(c)
	}
	return a.eachContainer(c, func(name string, container *launcher.Container) (string, error) {
		return printable(name), a.start(c, container)
	})
}

// start starts a container unless it runs.
func (a *app) start(c *ucli.Context, container *launcher.Container) error {
	runs, err := alreadyRuns(container)
	if runs || err != nil {
		return err
	}
	return a.superviseAgain(c, container, nil)
}

// alreadyRuns reports whether a container runs that is to be started.
func alreadyRuns(container *launcher.Container) (bool, error) {
	if container.Frozen() {
		return true, refused("'minirun unpause' has it go on", "cannot start a paused container, try unpause instead")
	}
	state := container.Known()
	return state.Status == launcher.StatusRunning || state.Status == launcher.StatusCreated && !state.Unstarted(), nil
}

func (a *app) restartCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "restart",
		Usage:     "stop containers, and start them again",
		ArgsUsage: "CONTAINER...",
		Description: `They are stopped as 'minirun stop' does it, and started as by 'minirun start'. One that
does not run is only started.`,
		Flags:  stopFlags(),
		Action: a.restartAction,
	}
}

func (a *app) restartAction(c *ucli.Context) error {
	policy, err := stopPolicy(c)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	return a.eachContainer(c, func(name string, container *launcher.Container) (string, error) {
		return printable(name), a.restart(ctx, c, container, policy)
	})
}

// restart stops a container, unless it has ended, and starts it. One that is to go when it ends
// goes if it does not start.
func (a *app) restart(ctx context.Context, c *ucli.Context, container *launcher.Container, policy launcher.StopPolicy) error {
	runs, goes := container.Known().Status == launcher.StatusRunning, !container.Known().Keep
	if runs && goes {
		release, err := holdToRestart(container)
		if err != nil {
			return err
		}
		defer release()
	}
	if runs {
		if err := container.Halt(ctx, policy); err != nil {
			return causeOf(ctx, err)
		}
		if err := a.released(ctx, container); err != nil {
			return err
		}
	}
	stopped, err := a.findContainer(c, container.ID())
	if err != nil {
		return err
	}
	err = a.start(c, stopped)
	if err != nil && runs && goes {
		return errors.Join(err, stopped.Delete())
	}
	return err
}

// holdToRestart keeps a container that goes when it ends until release is called. One in the
// foreground ends with its minirun.
func holdToRestart(container *launcher.Container) (release func(), err error) {
	if !container.Known().Detached {
		return nil, refused("with --rm=false, or with -d, it can be", "container %s is removed when it ends, and cannot be started again", container.Name())
	}
	return container.HoldForRestart()
}
