package cli

import (
	"errors"
	"fmt"
	"slices"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/rootfs"
)

func (a *app) containerDiffCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "diff",
		Usage:     "list what a container has changed in its root",
		ArgsUsage: "CONTAINER",
		Description: `A path is printed after A if it was added, C if it was changed, and D if it was deleted.
What is in mounts and volumes is not the root's. For profiles: 'minirun seccomp diff'.`,
		Action: a.containerDiffAction,
	}
}

func (a *app) containerDiffAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	if err := enter(c); err != nil { // outside of the namespace a user may not read all files
		return err
	}
	container, err := a.findContainer(c, c.Args().First())
	if err != nil {
		return err
	}
	launch, err := container.Launch()
	if err != nil {
		return &containerError{err: err}
	}
	overlay := rootfs.Overlay{Layers: launch.Layers, Dir: container.Dir()}
	changes, err := overlay.Diff(slices.Concat(launch.Volumes, launcher.OwnFiles(), []string{"/dev", "/proc", "/sys"}))
	if errors.Is(err, rootfs.ErrInMemory) {
		return refused("'minirun cp' copies files out of it while it runs", "the changes of container %s are in memory", container.Name())
	}
	if err != nil {
		return &containerError{err: err}
	}
	for _, change := range changes {
		if _, err := fmt.Fprintln(a.stdout, change.Kind, printable(change.Path)); err != nil {
			return err
		}
	}
	return nil
}
