package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) pushCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "push",
		Usage:     "copy an image of the store to the registry of its name",
		ArgsUsage: "NAME[:TAG]",
		Description: `Prints the tag and the manifest's digest. Credentials are those of 'docker login', or
'podman login'. Layers that neither the store nor the registry has as they came are
compressed again.`,
		Flags: []ucli.Flag{
			toggle("", "all-tags", "a", "push all tags that the store has of the repository"),
			text("", "platform", "", "push the image for `OS/ARCH[/VARIANT]`").with(platforms),
			toggle("", "quiet", "q", "show no progress, and print only the name"),
		},
		Action: a.pushAction,
	}
}

func (a *app) pushAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	return a.withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		names := []string{c.Args().First()}
		if c.Bool("all-tags") {
			var err error
			if names, err = allTags(store, names[0]); err != nil {
				return err
			}
		}
		for _, name := range names {
			if err := a.push(ctx, store, name, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *app) push(ctx context.Context, store *rootfs.Store, name string, c *ucli.Context) error {
	o := rootfs.ResolveOptions{Platform: c.String("platform"), Warn: a.warned}
	if !c.Bool("quiet") {
		o.Progress = a.pushProgress
	}
	pushed, err := store.Push(ctx, name, o)
	if a.ui.terminal {
		a.ui.bars()
	}
	if err != nil {
		return err
	}
	line := pushed.Name
	if !c.Bool("quiet") {
		_, tag := splitTag(pushed.Name)
		line = fmt.Sprintf("%s: digest: %s size: %d", tag, pushed.Digest, pushed.Size) // as docker's client does
	}
	_, err = fmt.Fprintln(a.stdout, line)
	return err
}

// allTags returns the names that the store has in a repository.
func allTags(store *rootfs.Store, repository string) ([]string, error) {
	if _, tag := splitTag(repository); tag != "" || strings.Contains(repository, "@") {
		return nil, &usageError{"push --all-tags " + repository + ": it has a tag", "leave out the tag"}
	}
	images, err := store.Images()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, image := range images {
		if has, tag := splitTag(familiar(image.Name)); has == familiar(repository) && tag != "" {
			names = append(names, image.Name)
		}
	}
	if len(names) == 0 {
		return nil, &usageError{"push --all-tags " + repository + ": the store has no image of this repository", "'minirun images' lists the images of the store"}
	}
	return names, nil
}

// pushProgress shows the progress of a layer: a bar on a terminal, else a line for each layer.
func (a *app) pushProgress(e rootfs.Event) {
	layer, size := shortLayer(e.Layer), units.HumanSize(float64(e.Done))
	switch {
	case e.Status == "done":
		a.ui.say("layer %s: pushed %s", layer, size)
	case e.Status == "exists":
		a.ui.say("layer %s: already in the registry", layer)
	case a.ui.terminal && e.Total > 0:
		a.ui.bars(e.Status + " layer " + layer + " " + gauge(e.Done, e.Total, 24) + " " + size + "/" + units.HumanSize(float64(e.Total)))
	}
}
