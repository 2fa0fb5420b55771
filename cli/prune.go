package cli

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) pruneCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "prune",
		Usage: "remove what no image needs from the store",
		Description: `Removes images without a name, layers of pulls that failed, and what killed processes
left. Asks first, unless --force is given. Filters are until=24h, until=2026-01-31,
label=KEY[=VALUE] and label!=KEY[=VALUE].`,
		Flags: []ucli.Flag{
			toggle("", "all", "a", "also remove all images that no container uses"),
			list("", "filter", "", "remove only images that match `FILTER`").with(oneOf("until=", "label=", "label!=")),
			toggle("", "packed", "", "also remove the packed layers that 'pull --keep-packed' kept"),
			toggle("", "force", "f", "do not ask"),
		},
		Action: a.pruneAction,
	}
}

func (a *app) pruneAction(c *ucli.Context) error {
	if err := checkArgs(c, 0, 0); err != nil {
		return err
	}
	o := rootfs.PruneOptions{All: c.Bool("all"), Packed: c.Bool("packed")}
	for _, filter := range c.StringSlice("filter") {
		if err := addFilter(&o, filter, time.Now()); err != nil {
			return err
		}
	}
	return a.withStore(c, func(_ context.Context, store *rootfs.Store) error {
		if !c.Bool("force") {
			what := "all images without a name"
			if o.All {
				what = "all images that no container uses"
			}
			if err := a.confirm("This removes " + what + "."); err != nil {
				return err
			}
		}
		removal, reclaimed, err := store.Prune(o)
		if err != nil {
			return err
		}
		if err := a.writeRemoval(removal); err != nil {
			return err
		}
		if removal.Kept != nil {
			a.ui.warn("unused layers stay in the store: %v", removal.Kept)
		}
		_, err = fmt.Fprintln(a.stdout, "Total reclaimed space:", humanSize(reclaimed))
		return err
	})
}

// confirm asks the user, and returns an error for any answer except yes.
func (a *app) confirm(what string) error {
	if _, err := fmt.Fprint(a.stderr, what+" Are you sure? [y/N] "); err != nil {
		return err
	}
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &usageError{"cancelled", "--force does not ask"}
}

// addFilter adds a filter of `docker image prune`.
func addFilter(o *rootfs.PruneOptions, filter string, now time.Time) error {
	key, value, ok := strings.Cut(filter, "=")
	switch {
	case ok && key == "label" && value != "":
		o.Labels = append(o.Labels, value)
	case ok && key == "label!" && value != "":
		o.Not = append(o.Not, value)
	case ok && key == "until":
		until, ok := parseTime(value, now)
		if !ok {
			return &usageError{"--filter " + filter + ": not a time", "write for example until=24h or until=2026-01-31T12:00:00"}
		}
		o.Until = until
	default:
		return &usageError{"--filter " + filter + ": unknown filter", "use until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]"}
	}
	return nil
}

// parseTime parses a time as docker's client does: a duration before now, a date with
// or without a time, in the local zone unless it names one, or seconds since 1970.
func parseTime(text string, now time.Time) (time.Time, bool) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, true
		}
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds < 0 || seconds > 1e12 {
		return time.Time{}, false
	}
	return time.Unix(0, int64(seconds*1e9)), true
}
