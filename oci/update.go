package oci

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/docker/go-units"
	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

// limit is a flag of update and where its value goes.
type limit struct {
	flag, usage string
	set         func(*specs.LinuxResources, string) error
}

func limits() []limit {
	type r = specs.LinuxResources
	return []limit{
		{"memory", "limit memory to `SIZE`", size(func(r *r) **int64 { return &r.Memory.Limit })},
		{"memory-reservation", "the soft limit of memory", size(func(r *r) **int64 { return &r.Memory.Reservation })},
		{"memory-swap", "limit memory and swap together; -1 is no limit", size(func(r *r) **int64 { return &r.Memory.Swap })},
		{"cpu-period", "length of a period in microseconds", number(func(r *r) **uint64 { return &r.CPU.Period })},
		{"cpu-quota", "processor time in each period in microseconds", signed(func(r *r) **int64 { return &r.CPU.Quota })},
		{"cpu-burst", "time that may be saved up in microseconds", number(func(r *r) **uint64 { return &r.CPU.Burst })},
		{"cpu-share", "relative weight", number(func(r *r) **uint64 { return &r.CPU.Shares })},
		{"cpu-rt-period", "as --cpu-period for realtime tasks", number(func(r *r) **uint64 { return &r.CPU.RealtimePeriod })},
		{"cpu-rt-runtime", "as --cpu-quota for realtime tasks", signed(func(r *r) **int64 { return &r.CPU.RealtimeRuntime })},
		{"cpu-idle", "1: run only when others are idle", signed(func(r *r) **int64 { return &r.CPU.Idle })},
		{"cpuset-cpus", "processors to use", func(r *r, s string) error { r.CPU.Cpus = s; return nil }},
		{"cpuset-mems", "memory nodes to use", func(r *r, s string) error { r.CPU.Mems = s; return nil }},
		{"pids-limit", "limit the number of processes", signed(func(r *r) **int64 { return &r.Pids.Limit })},
		{"blkio-weight", "weight of block I/O, 10 to 1000", weight},
	}
}

func (c *command) updateCommand() *ucli.Command {
	flags := []ucli.Flag{&ucli.StringFlag{Name: "resources", Aliases: []string{"r"}, Usage: "read all from `FILE`, JSON as linux.resources; - is standard input"}}
	for _, l := range limits() {
		flags = append(flags, &ucli.StringFlag{Name: l.flag, Usage: l.usage})
	}
	for _, name := range []string{"kernel-memory", "kernel-memory-tcp"} {
		flags = append(flags, &ucli.StringFlag{Name: name, Usage: "ignored: the kernel has no such limit any more", Hidden: true})
	}
	return &ucli.Command{
		Name: "update", Usage: "change a container's limits", ArgsUsage: "ID", Flags: flags,
		Action: c.onContainer(1, func(ctx *ucli.Context, container *launcher.Container) error {
			r, err := c.resources(ctx)
			if err != nil {
				return err
			}
			made, err := readRecord(container)
			if err != nil {
				return err
			}
			ignoreNoTasks(made.OCIVersion, r)
			return container.Update(r)
		}),
	}
}

// resources are the changes that --resources or the other flags ask for.
func (c *command) resources(ctx *ucli.Context) (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}, BlockIO: &specs.LinuxBlockIO{}}
	if file := ctx.String("resources"); file != "" {
		data, err := c.readInput(file)
		if err == nil {
			err = json.Unmarshal(data, r)
		}
		if err != nil {
			return nil, fmt.Errorf("--resources %s: %w", file, err)
		}
		return r, nil
	}
	for _, l := range limits() {
		text := ctx.String(l.flag)
		if text == "" {
			continue
		}
		if err := l.set(r, text); err != nil {
			return nil, fmt.Errorf("--%s %s: %w", l.flag, text, err)
		}
	}
	return r, nil
}

func (c *command) readInput(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(c.stdin)
	}
	return os.ReadFile(file)
}

func size(field func(*specs.LinuxResources) **int64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, text string) error {
		v := int64(-1)
		if text != "-1" {
			var err error
			if v, err = units.RAMInBytes(text); err != nil {
				return err
			}
		}
		*field(r) = &v
		return nil
	}
}

func number(field func(*specs.LinuxResources) **uint64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, text string) error {
		v, err := strconv.ParseUint(text, 10, 64)
		*field(r) = &v
		return err
	}
}

func signed(field func(*specs.LinuxResources) **int64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, text string) error {
		v, err := strconv.ParseInt(text, 10, 64)
		*field(r) = &v
		return err
	}
}

func weight(r *specs.LinuxResources, text string) error {
	v, err := strconv.ParseUint(text, 10, 16)
	w := uint16(v)
	r.BlockIO.Weight = &w
	return err
}
