package cli

import (
	"errors"
	"fmt"
	"runtime"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

// createCommand returns the verb create. launch are the flags of run.
func (a *app) createCommand(launch []ucli.Flag) *ucli.Command {
	var flags []ucli.Flag
	for _, f := range launch {
		if name := f.Names()[0]; name != "detach" && name != "detach-keys" && name != "sig-proxy" {
			flags = append(flags, f)
		}
	}
	return &ucli.Command{
		Name:        "create",
		Usage:       "make a container that 'start' runs",
		ArgsUsage:   "IMAGE [COMMAND [ARG...]]",
		Description: `The flags are those of run. Prints the container's ID.`,
		Flags:       flags,
		Action: func(c *ucli.Context) error {
			if err := checkArgs(c, 1, -1); err != nil {
				return err
			}
			return misplacedFlag(c.Args().Slice(), a.runAction(c))
		},
	}
}

// create makes a container for a later start. After an error nothing is left of it.
func (a *app) create(l *launch) (err error) {
	runtime.LockOSThread() // and never unlocked: the mounts end with the thread
	if err := launcher.PrivateMounts(); err != nil {
		return err
	}
	container, err := launcher.New(l.dirs, l.flags.Name, launcher.OwnerLauncher, a.ui.warning)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		if err := container.Delete(); err != nil {
			a.ui.warning(err)
		}
	}()
	if err := container.Outlast(true, l.o.About.Again.Flags["rm"][0] == "false"); err != nil {
		return err
	}
	if err := l.image.Pin(container.Dir()); err != nil {
		return err
	}
	overlay, _, err := overlayOf(container, l.flags, l.layers)
	if err != nil {
		return err
	}
	root, err := overlay.Mount()
	if err != nil {
		return err
	}
	l.o.Spec, err = container.Spec(l.flags, l.host, root)
	if uerr := overlay.Unmount(); err == nil {
		err = uerr
	}
	if err != nil {
		return err
	}
	idFile, err := writeID(l.flags.IDFile, container.ID())
	if err != nil {
		return err
	}
	if err := container.Keep(l.o); err != nil {
		return errors.Join(err, removeID(idFile))
	}
	_, err = fmt.Fprintln(a.stdout, container.ID())
	return err
}
