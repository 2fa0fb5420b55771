package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
)

func (a *app) statsCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "stats",
		Usage:     "show what containers use of this machine, again and again",
		ArgsUsage: "[CONTAINER...]",
		Description: `Without arguments it is about all containers that run. The fields of a template are
.Container .Name .ID .CPUPerc .MemUsage .MemPerc .NetIO .BlockIO .PIDs. CPU % is of one
processor: 200% is two of them. A container without a cgroup, which a user's without
limits is, shows nothing.`,
		Flags: []ucli.Flag{
			toggle("", "all", "a", "show containers that have ended, too"),
			toggle("", "no-stream", "", "show it once"),
			text("", "format", "", "print `FORMAT`: table, json or a template such as '{{.Name}} {{.CPUPerc}}'").with(oneOf("json", "table")),
			toggle("", "no-trunc", "", "print whole IDs"),
		},
		Action: a.statsAction,
	}
}

// statsRow has the fields that a template can use, those of `docker stats`.
type statsRow struct {
	BlockIO, CPUPerc, Container, ID, MemPerc, MemUsage, Name, NetIO, PIDs string
}

// measured is a container with its usage at some time.
type measured struct {
	shown string // as the user named it
	containerView
	usage launcher.Usage
	at    time.Time
}

// statsInterval is the time between two measurements. CPU % is computed for it.
const statsInterval = time.Second

func (a *app) statsAction(c *ucli.Context) error {
	format := c.String("format")
	if format == "json" {
		format = "{{json .}}"
	}
	write, err := listing[statsRow]{
		table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
		heading: statsRow{
			Container: "CONTAINER", ID: "CONTAINER ID", Name: "NAME", CPUPerc: "CPU %", MemUsage: "MEM USAGE / LIMIT", MemPerc: "MEM %",
			NetIO: "NET I/O", BlockIO: "BLOCK I/O", PIDs: "PIDS",
		},
	}.writer(format)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	before, err := a.measure(c)
	for err == nil && pause(ctx, statsInterval) {
		var now []measured
		if now, err = a.measure(c); err != nil {
			break
		}
		var rows []statsRow
		for _, m := range now {
			rows = append(rows, m.row(before, c.Bool("no-trunc")))
		}
		if !c.Bool("no-stream") && isTerminal(a.stdout) {
			_, _ = a.stdout.WriteString("\x1b[2J\x1b[H") // clear the screen, as docker does
		}
		if err = write(a.stdout, nil, rows); c.Bool("no-stream") {
			break
		}
		before = now
	}
	return causeOf(ctx, errors.Join(err, context.Cause(ctx)))
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// measure measures the containers that the arguments name, or all.
func (a *app) measure(c *ucli.Context) (all []measured, err error) {
	var views []containerView
	if c.Args().Present() {
		for _, name := range c.Args().Slice() {
			container, err := a.findContainer(c, name)
			if err != nil {
				return nil, err
			}
			all = append(all, measured{shown: name, containerView: a.newContainerView(container)})
		}
	} else if views, err = a.containers(c); err != nil {
		return nil, err
	}
	for _, v := range views {
		if v.runs() || c.Bool("all") {
			all = append(all, measured{shown: v.shownID(c.Bool("no-trunc")), containerView: v})
		}
	}
	for i := range all {
		m := &all[i]
		if m.at = time.Now(); m.runs() {
			m.usage, err = m.container.Usage()
		}
		if err != nil && !errors.Is(err, launcher.ErrNoCgroup) && a.newContainerView(m.container).runs() {
			return nil, &containerError{err: err}
		}
	}
	return all, nil
}

func (m *measured) row(before []measured, whole bool) statsRow {
	limit := min(m.usage.MemoryLimit, memoryTotal())
	if !m.runs() {
		limit = 0
	}
	share := 0.0
	if limit > 0 {
		share = 100 * float64(m.usage.Memory) / float64(limit)
	}
	return statsRow{
		Container: printable(m.shown), ID: m.shownID(whole), Name: m.Name, CPUPerc: fmt.Sprintf("%.2f%%", m.cpu(before)),
		MemUsage: units.BytesSize(float64(m.usage.Memory)) + " / " + units.BytesSize(float64(limit)), MemPerc: fmt.Sprintf("%.2f%%", share),
		NetIO:   pairOfSizes(m.usage.Received, m.usage.Sent),
		BlockIO: pairOfSizes(m.usage.Read, m.usage.Written), PIDs: fmt.Sprint(m.usage.Processes),
	}
}

func pairOfSizes(a, b uint64) string {
	return units.HumanSizeWithPrecision(float64(a), 3) + " / " + units.HumanSizeWithPrecision(float64(b), 3)
}

// cpu returns the share of a processor that a container has used since the last measurement.
func (m *measured) cpu(before []measured) float64 {
	i := slices.IndexFunc(before, func(b measured) bool { return b.ID == m.ID })
	if i < 0 || m.usage.CPU < before[i].usage.CPU {
		return 0
	}
	percent := 100 * float64(m.usage.CPU-before[i].usage.CPU) / float64(m.at.Sub(before[i].at))
	return min(percent, 100*float64(runtime.NumCPU()))
}

// memoryTotal returns the bytes of memory of this machine.
func memoryTotal() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return math.MaxUint64
	}
	return uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // Totalram has 32 bits on 32-bit machines
}
