package cli

import (
	"context"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) tagCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "tag",
		Usage:     "give an image another name",
		ArgsUsage: "IMAGE NAME[:TAG]",
		Action: func(c *ucli.Context) error {
			if err := checkArgs(c, 2, 2); err != nil {
				return err
			}
			return a.withStore(c, func(_ context.Context, store *rootfs.Store) error {
				return store.Tag(c.Args().Get(0), c.Args().Get(1))
			})
		},
	}
}
