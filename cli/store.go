package cli

import (
	"context"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

// withStore calls f with the store, and a context that SIGINT, SIGTERM and SIGHUP
// cancel.
func (a *app) withStore(c *ucli.Context, f func(context.Context, *rootfs.Store) error) error {
	if err := enter(c); err != nil {
		return err
	}
	d, err := dirs(c)
	if err != nil {
		return err
	}
	a.warnOneID(d.Root)
	store, err := rootfs.OpenStore(d.Root)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	return causeOf(ctx, f(ctx, store))
}

func openStore(c *ucli.Context) (*rootfs.Store, error) {
	d, err := dirs(c)
	if err != nil {
		return nil, err
	}
	return rootfs.OpenStore(d.Root)
}

// warned prints a warning of rootfs.
func (a *app) warned(text string) { a.ui.warn("%s", text) }

// familiar returns an image's name without docker.io/ and library/.
func familiar(name string) string {
	name = strings.TrimPrefix(name, "docker.io/")
	return strings.TrimPrefix(name, "library/")
}

// shortID returns the part of an image's ID that Docker shows.
func shortID(id string) string {
	_, hex, _ := strings.Cut(id, ":")
	return hex[:min(12, len(hex))]
}
