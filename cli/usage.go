package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) duCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "du",
		Usage: "show what the store takes on the disk",
		Description: `A layer that several images have is counted once. 'minirun prune' frees what is
reclaimable. The fields of a template are .Type .TotalCount .Active .Size .Reclaimable,
with -v .Name .Repository .Tag .ID .CreatedSince .Size .SharedSize .UniqueSize .Active.`,
		Flags: []ucli.Flag{
			choice("", "format", "text", "print `FORMAT`: text, json or a template such as '{{.Size}}'").with(oneOf("text", "json")),
			toggle("", "verbose", "v", "show each image"),
		},
		Action: a.duAction,
	}
}

// partRow has the fields that a template can use, those of `docker system df`.
type partRow struct{ Type, TotalCount, Active, Size, Reclaimable string }

// usageRow has the fields of `docker system df -v` for images, except the number of
// containers.
type usageRow struct {
	imageRow
	SharedSize, UniqueSize, Active string
}

func (a *app) duAction(c *ucli.Context) error {
	if err := checkArgs(c, 0, 0); err != nil {
		return err
	}
	format := c.String("format")
	parts, err := listing[partRow]{
		table:   "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
		heading: partRow{"TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"},
	}.writer(format)
	if c.Bool("verbose") {
		parts = nil
	} else if err != nil {
		return err
	}
	list := imageList{now: time.Now()}
	images, err := listing[usageRow]{
		table: "{{.Name}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Active}}",
		heading: usageRow{
			list.listing(false).heading, "SHARED SIZE", "UNIQUE SIZE", "ACTIVE",
		},
	}.writer(format)
	if err != nil && c.Bool("verbose") {
		return err
	}
	return a.withStore(c, func(_ context.Context, store *rootfs.Store) error {
		usage, err := store.Usage()
		if err != nil {
			return err
		}
		if parts != nil {
			return parts(a.stdout, usage.Parts, partRows(usage.Parts))
		}
		var rows []usageRow
		for _, image := range usage.Images {
			row := usageRow{list.row(image.ImageInfo), humanSize(image.Shared), humanSize(image.Unique), "no"}
			if image.Active {
				row.Active = "yes"
			}
			rows = append(rows, row)
		}
		return images(a.stdout, usage.Images, rows)
	})
}

func partRows(parts []rootfs.PartUsage) []partRow {
	var rows []partRow
	for _, p := range parts {
		reclaimable := humanSize(p.Reclaimable)
		if p.Size > 0 {
			reclaimable += fmt.Sprintf(" (%d%%)", p.Reclaimable*100/p.Size)
		}
		rows = append(rows, partRow{p.Type, fmt.Sprint(p.Total), fmt.Sprint(p.Active), humanSize(p.Size), reclaimable})
	}
	return rows
}

func humanSize(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }
