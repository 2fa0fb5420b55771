package cli

import (
	"errors"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

func (a *app) pauseCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "pause",
		Usage:     "freeze all processes of containers",
		ArgsUsage: "CONTAINER...",
		Description: `They go on after 'minirun unpause', and when the container is stopped or killed. A
container without a cgroup, which a user's without limits is, cannot be paused.`,
		Action: func(c *ucli.Context) error { return a.freeze(c, true) },
	}
}

func (a *app) unpauseCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "unpause",
		Usage:     "have the processes of paused containers go on",
		ArgsUsage: "CONTAINER...",
		Action:    func(c *ucli.Context) error { return a.freeze(c, false) },
	}
}

func (a *app) freeze(c *ucli.Context, frozen bool) error {
	return a.eachContainer(c, func(name string, container *launcher.Container) (string, error) {
		is := container.Frozen()
		switch {
		case container.Known().Status != launcher.StatusRunning && frozen:
			return "", notRunning(container)
		case is && frozen:
			return "", refused("'minirun unpause' has it go on", "container %s is already paused", container.ID())
		case !is && !frozen:
			return "", refused("'minirun ps' shows which containers are paused", "container %s is not paused", container.ID())
		}
		err := container.Freeze(frozen)
		if errors.Is(err, launcher.ErrNoCgroup) {
			return "", refused("a limit such as --memory gives it one", "container %s has no cgroup, without which it cannot be paused", printable(name))
		}
		return printable(name), err
	})
}
