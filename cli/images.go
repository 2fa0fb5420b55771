package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) pullCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "pull",
		Usage:     "fetch an image from its registry into the store",
		ArgsUsage: "IMAGE",
		Description: `Prints the image's full name. Credentials are those of 'docker login', or
'podman login'. An interrupted pull leaves the layers that were whole: the next one does
not fetch them again, and the next rmi removes them.`,
		Flags: []ucli.Flag{
			text("", "platform", "", "pull the image for `OS/ARCH[/VARIANT]`").with(platforms),
			toggle("", "keep-packed", "", "keep the packed layers too, so that save and push give the same digests"),
			maxSizeFlag(), maxFilesFlag(),
			toggle("", "quiet", "q", "show no progress"),
		},
		Action: a.pullAction,
	}
}

func (a *app) pullAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	limits, err := imageLimits(c)
	if err != nil {
		return err
	}
	return a.withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		report, done := a.progress(c.Args().First(), c.Bool("quiet"))
		info, err := store.Pull(ctx, c.Args().First(), rootfs.ResolveOptions{
			Pull: rootfs.PullAlways, Platform: c.String("platform"), Progress: report, Limits: limits, Warn: a.warned, KeepPacked: c.Bool("keep-packed"),
		})
		done(err)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, printable(info.Name))
		return err
	})
}

func maxSizeFlag() ucli.Flag {
	return text("", "max-size", "", "refuse an image of more than `SIZE` unpacked (default: 128g)")
}

func maxFilesFlag() ucli.Flag {
	return text("", "max-files", "", "refuse an image of more than `N` files (default: 8388608)")
}

// imageLimits returns what --max-size and --max-files say.
func imageLimits(c *ucli.Context) (l rootfs.Limits, err error) {
	if text := c.String("max-size"); text != "" {
		if l.Bytes, err = units.RAMInBytes(text); err != nil || l.Bytes <= 0 {
			return l, &usageError{fmt.Sprintf("--max-size %q: not a size", text), "write a number of bytes, or a unit after it: 512m, 200g"}
		}
	}
	if text := c.String("max-files"); text != "" {
		if l.Files, err = strconv.ParseInt(text, 10, 64); err != nil || l.Files <= 0 {
			return l, &usageError{fmt.Sprintf("--max-files %q: not a number of files", text), "write for example 20000000"}
		}
	}
	return l, nil
}

func (a *app) rmiCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "rmi",
		Usage:     "remove images from the store",
		ArgsUsage: "IMAGE...",
		Description: `Layers that no other image has are removed too. An image that a container uses is
kept. An ID removes all names of the image; --force is needed if they are of several
repositories.`,
		Flags: []ucli.Flag{
			toggle("", "force", "f", "remove an ID with names of several repositories, and only warn about an image that does not exist"),
		},
		Action: a.rmiAction,
	}
}

func (a *app) rmiAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, -1); err != nil {
		return err
	}
	return a.withStore(c, func(_ context.Context, store *rootfs.Store) error {
		var failed []error
		var kept error
		for _, name := range c.Args().Slice() {
			removal, err := store.Remove(name, c.Bool("force"))
			switch {
			case errors.Is(err, rootfs.ErrNotFound) && c.Bool("force"):
				a.ui.warn("%v", err)
			case err != nil:
				failed = append(failed, err)
			default:
				kept = removal.Kept
				if err := a.writeRemoval(removal); err != nil {
					return err
				}
			}
		}
		if kept != nil {
			a.ui.warn("unused layers stay in the store: %v", kept)
			a.ui.hint("pull that image again, or remove it; the next 'minirun rmi' then frees them")
		}
		return errors.Join(failed...)
	})
}

func (a *app) writeRemoval(r *rootfs.Removal) error {
	var failed error
	for _, name := range r.Untagged {
		_, err := fmt.Fprintln(a.stdout, "Untagged:", printable(familiar(name)))
		failed = cmp.Or(failed, err)
	}
	for _, id := range r.Deleted {
		_, err := fmt.Fprintln(a.stdout, "Deleted:", printable(id))
		failed = cmp.Or(failed, err)
	}
	return failed
}

func (a *app) bootstrapCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "bootstrap",
		Usage:     "make an image from a distribution's packages, without a registry",
		ArgsUsage: "debian[:SUITE]",
		Description: `Builds the image with mmdebstrap from the package mirrors that this machine's apt
uses, and prints its name. SUITE is bookworm by default.`,
		Flags: []ucli.Flag{
			list("", "include", "", "install `PACKAGE` too"),
			toggle("", "quiet", "q", "show no progress"),
		},
		Action: a.bootstrapAction,
	}
}

func (a *app) bootstrapAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	return a.withStore(c, func(ctx context.Context, store *rootfs.Store) error {
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
