package cli

import (
	"errors"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

func (a *app) renameCommand() *ucli.Command {
	return &ucli.Command{
		Name:        "rename",
		Usage:       "give a container another name",
		ArgsUsage:   "CONTAINER NAME",
		Description: `It may run. Its old name is free at once.`,
		Action:      a.renameAction,
	}
}

func (a *app) renameAction(c *ucli.Context) error {
	if err := checkArgs(c, 2, 2); err != nil {
		return err
	}
	name := c.Args().Get(1)
	container, err := a.findContainer(c, c.Args().First())
	if err != nil {
		return err
	}
	err = container.Rename(name)
	switch {
	case errors.Is(err, launcher.ErrInvalidName):
		return refused("a name has letters, digits, and _ . - after the first", "invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", printable(name))
	case errors.Is(err, launcher.ErrSameName):
		return refused("choose another", "renaming a container with the same name as its current name")
	case errors.Is(err, launcher.ErrNameInUse):
		return refused("choose another, or rename or remove that container", "the container name %q is already in use", name)
	case errors.Is(err, launcher.ErrOwned):
		return refused("wait until it has", "container %s is about to start or to end", container.Name())
	case err != nil:
		return &containerError{err: err}
	}
	return nil
}
