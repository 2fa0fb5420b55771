package cli

import (
	"context"
	"errors"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
)

func (a *app) rmCommand() *ucli.Command {
	return &ucli.Command{
		Name:        "rm",
		Usage:       "remove containers that do not run",
		ArgsUsage:   "CONTAINER...",
		Description: `Prints the containers as they were named.`,
		Flags: []ucli.Flag{
			toggle("", "force", "f", "kill those that run first, remove damaged ones too, and only warn about one that does not exist"),
			toggle("", "volumes", "v", "accepted; anonymous volumes always go with their container"),
		},
		Action: a.rmAction,
	}
}

func (a *app) rmAction(c *ucli.Context) error {
	if done, err := a.enterToRemove(c); done || err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	return a.eachContainer(c, func(name string, container *launcher.Container) (string, error) {
		state := container.Known()
		if state.Status == launcher.StatusCreated && !state.Unstarted() || state.Status == launcher.StatusRunning {
			switch {
			case c.Bool("force"):
			case container.Frozen():
				return "", refused("'minirun unpause' has it go on, and rm -f kills it",
					"you cannot remove a paused container %s. Unpause and then stop the container before attempting removal or force remove", state.ID)
			default:
				return "", refused("'minirun stop' ends it, and rm -f kills it",
					"you cannot remove a running container %s. Stop the container before attempting removal or force remove", state.ID)
			}
			if err := container.Halt(ctx, launcher.StopPolicy{Signal: unix.SIGKILL}); err != nil {
				return "", causeOf(ctx, err)
			}
		}
		if err := a.removed(ctx, container); err != nil {
			return "", err
		}
		return printable(name), nil
	})
}

// removeDamaged removes the damaged container of a [launcher.DamagedError].
func removeDamaged(c *ucli.Context, err error) error {
	d, failed := dirs(c)
	var damaged *launcher.DamagedError
	if failed == nil && errors.As(err, &damaged) {
		failed = launcher.DeleteDamaged(d, damaged.Name)
	}
	if failed != nil {
		return &containerError{err: failed}
	}
	return nil
}

// removed removes a container that has ended, unless its launcher has done it.
func (a *app) removed(ctx context.Context, container *launcher.Container) error {
	if err := a.released(ctx, container); err != nil {
		return err
	}
	err := container.Delete()
	if errors.Is(err, launcher.ErrOwned) {
		return refused("its launcher still waits for a reader of its output", "removal of container %s is already in progress", container.Name())
	}
	return err
}
