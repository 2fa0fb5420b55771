package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) historyCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "history",
		Usage:     "list the steps in which an image was made",
		ArgsUsage: "IMAGE",
		Description: `The last step is first. The fields of a template are .ID .CreatedAt .CreatedSince
.CreatedBy .Size and .Comment.`,
		Flags: []ucli.Flag{
			choice("", "format", "text", "print `FORMAT`: text, json or a template such as '{{.CreatedBy}}'").with(oneOf("text", "json")),
			onByDefault(toggle("", "human", "H", "print sizes and times for people; with =false, bytes and dates")),
			toggle("", "no-trunc", "", "print whole IDs and commands"),
			toggle("", "quiet", "q", "print only the IDs"),
			text("", "platform", "", "list those of the image for `OS/ARCH[/VARIANT]`").with(platforms),
		},
		Action: a.historyAction,
	}
}

// historyRow has the fields that a template can use, those of `docker history`.
type historyRow struct{ ID, CreatedAt, CreatedSince, CreatedBy, Size, Comment string }

func (a *app) historyAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	format := c.String("format")
	if c.Bool("quiet") && format == "text" {
		format = "{{.ID}}"
	}
	created := "{{.CreatedSince}}"
	if !c.Bool("human") {
		created = "{{.CreatedAt}}"
	}
	write, err := listing[historyRow]{
		table: "{{.ID}}\t" + created + "\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
		heading: historyRow{
			ID: "IMAGE", CreatedAt: "CREATED AT", CreatedSince: "CREATED", CreatedBy: "CREATED BY", Size: "SIZE", Comment: "COMMENT",
		},
	}.writer(format)
	if err != nil {
		return err
	}
	return a.withStore(c, func(_ context.Context, store *rootfs.Store) error {
		steps, err := store.History(c.Args().First(), c.String("platform"))
		if err != nil {
			return err
		}
		var rows []historyRow
		for _, step := range steps {
			rows = append(rows, newHistoryRow(step, c.Bool("human"), c.Bool("no-trunc")))
		}
		return write(a.stdout, steps, rows)
	})
}

// shownCommand is how many characters Docker shows of a command.
const shownCommand = 45

func newHistoryRow(step rootfs.HistoryStep, human, whole bool) historyRow {
	r := historyRow{
		ID: step.ID, CreatedAt: "N/A", CreatedSince: "N/A", CreatedBy: printable(strings.ReplaceAll(step.CreatedBy, "\t", " ")),
		Size: strconv.FormatInt(step.Size, 10), Comment: printable(step.Comment),
	}
	if human {
		r.Size = units.HumanSizeWithPrecision(float64(step.Size), 3)
	}
	if !step.Created.IsZero() {
		r.CreatedAt = step.Created.Local().Format(time.RFC3339)
		r.CreatedSince = units.HumanDuration(time.Since(step.Created)) + " ago"
	}
	if !whole {
		r.ID = shortID(step.ID)
		if command := []rune(r.CreatedBy); len(command) > shownCommand {
			r.CreatedBy = string(command[:shownCommand-1]) + "…"
		}
	}
	if step.ID == "" {
		r.ID = "<missing>"
	}
	return r
}
