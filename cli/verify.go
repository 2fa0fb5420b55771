package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) verifyCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "verify",
		Usage:     "check that nothing in the store has changed",
		ArgsUsage: "[IMAGE...]",
		Description: `Reads all layers of the images, or of all images, and compares digests. Exits with 1
if something has changed; 'minirun pull' then fetches it again.`,
		Flags:  []ucli.Flag{formatFlag()},
		Action: a.verifyAction,
	}
}

func (a *app) verifyAction(c *ucli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	return a.withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		all, err := store.Verify(ctx, c.Args().Slice()...)
		if err != nil {
			return err
		}
		if asJSON {
			err = writeJSON(a.stdout, all)
		} else {
			err = a.writeVerified(all)
		}
		if err != nil {
			return err
		}
		for _, v := range all {
			if len(v.Problems) > 0 {
				return status(1)
			}
		}
		return nil
	})
}

func (a *app) writeVerified(all []rootfs.Verification) error {
	table := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tID\tPLATFORM\tLAYERS\tSIZE\tSTATUS")
	for _, v := range all {
		state := "ok"
		if len(v.Problems) > 0 {
			state = "damaged"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\n", printable(familiar(v.Name)), shortID(v.ID), printable(v.Platform),
			v.Layers, units.HumanSizeWithPrecision(float64(v.Size), 3), state)
	}
	err := table.Flush()
	for _, v := range all {
		for _, problem := range v.Problems {
			a.ui.line(red, "minirun:", familiar(v.Name)+": "+problem)
		}
		if len(v.Problems) > 0 {
			a.ui.hint(damageHint(familiar(v.Name), v.CanPull))
		}
	}
	return err
}
