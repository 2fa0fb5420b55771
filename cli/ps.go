package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/rootfs"
)

func (a *app) psCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "ps",
		Usage: "list containers",
		Description: `Without -a only those that run are listed. The filters are id, name, label, status,
exited, ancestor, before and since. The fields of a template are .ID .Names .Image
.Command .CreatedAt .RunningFor .Status .State .Size .Ports .Networks .Mounts .Labels
and .Label "KEY"; 'table TEMPLATE' prints a heading too.`,
		Flags: []ucli.Flag{
			toggle("", "all", "a", "list those that have ended, too"),
			list("", "filter", "f", "list only those that `FILTER` matches: status=exited, name=web").with(psFilters),
			text("", "format", "", "print `FORMAT`: table, json or a template such as '{{.Names}}'").with(oneOf("json", "table")),
			text("", "last", "n", "list the last `N` that were made, whether or not they run"),
			toggle("", "latest", "l", "list the last one, whether or not it runs"),
			toggle("", "no-trunc", "", "print whole IDs and commands"),
			toggle("", "quiet", "q", "print only IDs"),
			toggle("", "size", "s", "print how large the files are that each has made or changed, and with its image"),
		},
		Action: a.psAction,
	}
}

// containerRow has the fields that a template can use, those of `docker ps`.
type containerRow struct {
	Command, CreatedAt, ID, Image, Labels, LocalVolumes, Mounts, Names, Networks, Ports, RunningFor, Size, State, Status string

	labels map[string]string
}

// Label returns the value of a label.
func (r containerRow) Label(key string) string {
	if r.labels == nil {
		return key // in the heading
	}
	return r.labels[key]
}

func (a *app) psAction(c *ucli.Context) error {
	if err := checkArgs(c, 0, 0); err != nil {
		return err
	}
	format, table := c.String("format"), "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
	sizes := c.Bool("size") || strings.Contains(format, ".Size")
	if sizes {
		table += "\t{{.Size}}"
		if err := enter(c); err != nil { // outside of the namespace a user may not read all files
			return err
		}
	}
	if format == "json" {
		format = "{{json .}}" // a line for each, as docker's
	}
	if c.Bool("quiet") && format == "" {
		format = "{{.ID}}"
	}
	write, err := listing[containerRow]{
		table: table,
		heading: containerRow{
			ID: "CONTAINER ID", Image: "IMAGE", Command: "COMMAND", CreatedAt: "CREATED AT", RunningFor: "CREATED",
			Status: "STATUS", Ports: "PORTS", Names: "NAMES", Labels: "LABELS", LocalVolumes: "LOCAL VOLUMES", Mounts: "MOUNTS",
			Networks: "NETWORKS", Size: "SIZE", State: "STATE",
		},
	}.writer(format)
	if err != nil {
		return err
	}
	last, err := lastContainers(c)
	if err != nil {
		return err
	}
	f, err := newPSFilter(c.StringSlice("filter"))
	if err != nil {
		return err
	}
	all, err := a.containers(c)
	if err != nil {
		return err
	}
	if err := f.resolve(all); err != nil {
		return err
	}
	var rows []containerRow
	for _, v := range all {
		switch {
		case last > 0 && len(rows) == last:
		case last < 0 && !c.Bool("all") && !f.anyStatus() && !v.runs():
		case f.matches(v):
			row := v.row(c.Bool("no-trunc"))
			if sizes {
				row.Size = a.sizeText(v)
			}
			rows = append(rows, row)
		}
	}
	return write(a.stdout, nil, rows)
}

// sizeText returns a container's sizes as docker's client shows them. One that has just been
// removed has none.
func (a *app) sizeText(v containerView) string {
	changed, all, err := v.sizes()
	if err != nil {
		a.ui.warning(fmt.Errorf("container %s: %w", v.Name, err))
	}
	text := units.HumanSizeWithPrecision(float64(changed), 3)
	if all > 0 {
		text += fmt.Sprintf(" (virtual %s)", units.HumanSizeWithPrecision(float64(all), 3))
	}
	return text
}

// sizes returns how large the files are that a container has made or changed, and all that are
// in its root.
func (v containerView) sizes() (changed, all int64, err error) {
	return rootfs.Overlay{Layers: v.launch.Layers, Dir: v.container.Dir()}.Size(v.launch.Volumes)
}

// lastContainers returns how many containers -n and -l ask for, or -1.
func lastContainers(c *ucli.Context) (int, error) {
	if c.Bool("latest") {
		return 1, nil
	}
	text := cmp.Or(c.String("last"), "-1")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, &usageError{"--last " + text + ": not a number", "write how many containers to list"}
	}
	return max(n, -1), nil
}

// containerView is a container with what ps shows of it.
type containerView struct {
	container *launcher.Container
	launcher.State
	launch *launcher.Launch // empty if it is not known
	now    time.Time
}

// containers returns all containers, the newest first, and reports containers that have ended
// because their launcher was killed.
func (a *app) containers(c *ucli.Context) ([]containerView, error) {
	d, err := dirs(c)
	if err != nil {
		return nil, err
	}
	all, err := launcher.List(d, a.ui.warning)
	if err != nil {
		return nil, err
	}
	var views []containerView
	for _, container := range all {
		v := a.newContainerView(container)
		if v.Lost {
			a.ui.warn("container %s has ended: its minirun was killed", v.Name)
			a.ui.hint("'minirun rm " + v.Name + "' removes it")
		}
		views = append(views, v)
	}
	return views, nil
}

// newContainerView returns what is known about a container, and warns of what cannot be read.
// A container that has not begun, or has just ended, has no launch.
func (a *app) newContainerView(container *launcher.Container) containerView {
	launch, err := container.Launch()
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			a.ui.warning(err)
		}
		launch = &launcher.Launch{}
	}
	return containerView{container, container.Known(), launch, time.Now()}
}

func (v containerView) runs() bool { return v.state() == "running" || v.state() == "paused" }

// state returns docker's word for the container's status.
func (v containerView) state() string {
	switch {
	case v.Status == launcher.StatusStopped && v.Finished.IsZero() && !v.Lost:
		return "removing"
	case v.Status == launcher.StatusStopped:
		return "exited"
	case v.Status == launcher.StatusRunning && v.container.Frozen():
		return "paused"
	}
	return string(v.Status)
}

// status returns the text that docker shows as the status.
func (v containerView) status() string {
	switch v.state() {
	case "created":
		return "Created"
	case "removing":
		return "Removal In Progress"
	case "exited":
		text := fmt.Sprintf("Exited (%d)", v.ExitCode)
		if !v.Finished.IsZero() {
			text += " " + units.HumanDuration(v.now.Sub(v.Finished)) + " ago"
		}
		if v.Lost {
			text += " (minirun killed)"
		}
		return text
	case "paused":
		return "Up " + units.HumanDuration(v.now.Sub(v.Started)) + " (Paused)"
	}
	return "Up " + units.HumanDuration(v.now.Sub(v.Started))
}

// shownID is the ID, or the start of it that is shown.
func (v containerView) shownID(whole bool) string {
	if whole {
		return v.ID
	}
	return v.ID[:min(len(v.ID), 12)]
}

func (v containerView) row(whole bool) containerRow {
	command := commandText(v.Command)
	if runes := []rune(command); !whole && len(runes) > 20 {
		command = string(runes[:19]) + "…"
	}
	labels := v.launch.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	r := containerRow{
		ID: v.shownID(whole), Names: v.Name, Image: printable(v.Image), Command: strconv.Quote(command),
		CreatedAt: v.Created.Truncate(time.Second).String(), RunningFor: units.HumanDuration(v.now.Sub(v.Created)) + " ago",
		State: v.state(), Status: v.status(), LocalVolumes: "0", Networks: v.launch.Network, Size: "0B",
		labels: labels, Labels: printable(labelText(labels)),
	}
	if v.runs() {
		r.Ports = strings.Join(v.launch.Ports, ", ")
	}
	var mounts []string
	for _, bind := range v.launch.Binds {
		source := bind.Source
		if runes := []rune(source); !whole && len(runes) > 15 {
			source = string(runes[:14]) + "…"
		}
		mounts = append(mounts, source)
	}
	r.Mounts = printable(strings.Join(mounts, ","))
	return r
}

// commandText returns a command as dockerd shows it: arguments with a space are quoted.
func commandText(args []string) string {
	words := slices.Clone(args)
	for i, word := range words {
		if i > 0 && strings.ContainsAny(word, " \t\n\r\v\f") {
			words[i] = "'" + word + "'"
		}
	}
	return strings.Join(words, " ")
}

func labelText(labels map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return strings.Join(pairs, ",")
}
