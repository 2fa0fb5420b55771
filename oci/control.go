package oci

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

func (c *command) pauseCommand() *ucli.Command {
	return c.simple("pause", "freeze a container's processes", (*launcher.Container).Pause)
}

func (c *command) resumeCommand() *ucli.Command {
	return c.simple("resume", "have a paused container go on", (*launcher.Container).Thaw)
}

// simple returns a verb whose only argument is a container.
func (c *command) simple(name, usage string, do func(*launcher.Container) error) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "ID",
		Action: c.onContainer(1, func(_ *ucli.Context, container *launcher.Container) error { return do(container) }),
	}
}

func (c *command) psCommand() *ucli.Command {
	return &ucli.Command{
		Name: "ps", Usage: "list a container's processes, as ps(1) does", ArgsUsage: "ID [PS-OPTION...]",
		Flags: []ucli.Flag{formatFlag()},
		Action: c.onContainer(-1, func(ctx *ucli.Context, container *launcher.Container) error {
			pids, err := container.Processes()
			if err != nil {
				return err
			}
			switch format := ctx.String("format"); format {
			case "json":
				return json.NewEncoder(c.stdout).Encode(pids)
			case "table":
				return c.printProcesses(pids, ctx.Args().Tail())
			default:
				return fmt.Errorf("--format %s: use table or json", format)
			}
		}),
	}
}

// printProcesses prints the lines of ps(1) that are about these processes.
func (c *command) printProcesses(pids []int, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	output, err := exec.Command("ps", options...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ps: %w: %s", err, strings.TrimSpace(string(output)))
	}
	title, rest, _ := strings.Cut(string(output), "\n")
	column := slices.Index(strings.Fields(title), "PID")
	if column < 0 {
		return errors.New("ps: its output has no column PID")
	}
	lines := []string{title}
	for line := range strings.SplitSeq(rest, "\n") {
		fields := strings.Fields(line)
		if len(fields) <= column {
			continue
		}
		if pid, err := strconv.Atoi(fields[column]); err == nil && slices.Contains(pids, pid) {
			lines = append(lines, line)
		}
	}
	_, err = fmt.Fprintln(c.stdout, strings.Join(lines, "\n"))
	return err
}

// event is one line of events.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func (c *command) eventsCommand() *ucli.Command {
	return &ucli.Command{
		Name: "events", Usage: "print a container's statistics and out-of-memory events as JSON", ArgsUsage: "ID",
		Flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "stats", Usage: "print the statistics once"},
			&ucli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "between statistics"},
		},
		Action: c.onContainer(1, func(ctx *ucli.Context, container *launcher.Container) error {
			if ctx.Duration("interval") <= 0 {
				return errors.New("--interval: it has to be more than 0")
			}
			state, err := container.State()
			if err != nil {
				return err
			}
			if state.Status == launcher.StatusStopped {
				return fmt.Errorf("container with id %s is not running", state.Name)
			}
			if !ctx.Bool("stats") {
				return c.watch(container, state.Name, ctx.Duration("interval"))
			}
			return c.printStats(container, state.Name)
		}),
	}
}

func (c *command) printStats(container *launcher.Container, id string) error {
	stats, err := container.Stats()
	if err != nil {
		return err
	}
	return json.NewEncoder(c.stdout).Encode(event{Type: "stats", ID: id, Data: stats})
}

// watch prints events until the container ends.
func (c *command) watch(container *launcher.Container, id string, interval time.Duration) error {
	oom, err := container.OutOfMemory()
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case _, more := <-oom:
			if !more {
				return nil
			}
			err = json.NewEncoder(c.stdout).Encode(event{Type: "oom", ID: id})
		case <-tick.C:
			err = c.printStats(container, id)
		}
		if err != nil {
			return err
		}
	}
}
