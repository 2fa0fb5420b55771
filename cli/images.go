package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) pullCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "pull",
		Usage:     "fetch an image from its registry into the store",
		ArgsUsage: "IMAGE",
		Description: `Prints the image's full name. Credentials are those of 'docker login'. What an
interrupted pull has fetched is removed.`,
		Flags: []ucli.Flag{
			text("", "platform", "", "take the image for `OS/ARCH[/VARIANT]`"),
			toggle("", "quiet", "q", "no progress"),
		},
		Action: a.pullAction,
	}
}

func (a *app) pullAction(c *ucli.Context) error {
	if err := words(c, 1, 1); err != nil {
		return err
	}
	return withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		tell, done := a.progress("pull "+c.Args().First(), c.Bool("quiet"))
		info, err := store.Pull(ctx, c.Args().First(), rootfs.ResolveOptions{
			Pull: rootfs.PullAlways, Platform: c.String("platform"), Progress: tell,
		})
		done()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, printable(info.Name))
		return err
	})
}

func (a *app) imagesCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "images",
		Usage: "list the images of the store",
		Flags: []ucli.Flag{
			formatFlag(),
			toggle("", "quiet", "q", "print the images' IDs only"),
		},
		Action: a.imagesAction,
	}
}

func (a *app) imagesAction(c *ucli.Context) error {
	if err := words(c, 0, 0); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	store, err := openStore(c)
	if err != nil {
		return err
	}
	images, err := store.Images()
	if err != nil {
		return err
	}
	switch {
	case asJSON:
		return writeJSON(a.stdout, images)
	case c.Bool("quiet"):
		for _, image := range images {
			if _, err := fmt.Fprintln(a.stdout, shortID(image.ID)); err != nil {
				return err
			}
		}
		return nil
	}
	return imageTable(a.stdout, images, time.Now())
}

func imageTable(w io.Writer, images []rootfs.ImageInfo, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tID\tPLATFORM\tCREATED\tSIZE")
	for _, image := range images {
		created := "N/A"
		if !image.Created.IsZero() {
			created = units.HumanDuration(now.Sub(image.Created)) + " ago"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", printable(familiar(image.Name)), shortID(image.ID),
			printable(image.Platform), created, units.HumanSizeWithPrecision(float64(image.Size), 3))
	}
	return table.Flush()
}

func (a *app) rmiCommand() *ucli.Command {
	return &ucli.Command{
		Name:        "rmi",
		Usage:       "remove images from the store",
		ArgsUsage:   "IMAGE...",
		Description: "Layers that no other image has go with it. An image that a container runs on stays.",
		Action:      a.rmiAction,
	}
}

func (a *app) rmiAction(c *ucli.Context) error {
	if err := words(c, 1, -1); err != nil {
		return err
	}
	return withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		var failed []error
		for _, name := range c.Args().Slice() {
			if err := store.Remove(ctx, name); err != nil {
				failed = append(failed, err)
			} else if _, err := fmt.Fprintln(a.stdout, "Untagged:", printable(name)); err != nil {
				return err
			}
		}
		return errors.Join(failed...)
	})
}

func (a *app) bootstrapCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "bootstrap",
		Usage:     "make an image from a distribution's packages, without a registry",
		ArgsUsage: "debian[:SUITE]",
		Description: `Builds the image with mmdebstrap from the package mirrors that this machine's apt
uses, and prints its name. SUITE is bookworm where none is given.`,
		Flags: []ucli.Flag{
			list("", "include", "", "install `PACKAGE` too"),
			toggle("", "quiet", "q", "no progress"),
		},
		Action: a.bootstrapAction,
	}
}

func (a *app) bootstrapAction(c *ucli.Context) error {
	if err := words(c, 1, 1); err != nil {
		return err
	}
	return withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		said := &lines{ui: a.ui}
		var log io.Writer = said
		if c.Bool("quiet") {
			log = io.Discard
		}
		distribution, suite, _ := strings.Cut(c.Args().First(), ":")
		info, err := store.Bootstrap(ctx, rootfs.BootstrapOptions{
			Distribution: distribution, Suite: suite, Packages: c.StringSlice("include"), Log: log,
		})
		said.end()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, printable(familiar(info.Name)))
		return err
	})
}
