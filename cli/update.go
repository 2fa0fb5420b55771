package cli

import (
	"errors"
	"maps"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
)

// updateCommand returns the verb update. launch are the flags of run; it takes those for
// limits.
func (a *app) updateCommand(launch []ucli.Flag) *ucli.Command {
	return &ucli.Command{
		Name:      "update",
		Usage:     "change the limits of containers",
		ArgsUsage: "CONTAINER...",
		Description: `The flags are those of a launch. Limits of a container that runs change at once, and stay
when it is started again. Prints the containers as they were named.`,
		Flags:  limitFlags(launch),
		Action: a.updateAction,
	}
}

func limitFlags(launch []ucli.Flag) []ucli.Flag {
	var limits []ucli.Flag
	for _, f := range launch {
		switch f.Names()[0] {
		case "memory", "memory-swap", "memory-reservation", "cpus", "cpu-quota", "cpu-period", "cpu-shares", "cpuset-cpus", "cpuset-mems", "pids-limit":
			limits = append(limits, f)
		}
	}
	return limits
}

func (a *app) updateAction(c *ucli.Context) error {
	given := config.Flags{}
	for _, f := range c.Command.Flags {
		if name := f.Names()[0]; c.IsSet(name) {
			given[name] = []string{c.String(name)}
		}
	}
	if len(given) == 0 {
		return &containerError{&usageError{"update: you must provide one or more flags when using this command", "'minirun update --help' lists them"}, ""}
	}
	if _, err := config.Parse(withMemory(given)); err != nil { // the flags must be valid by themselves
		return err
	}
	return a.eachContainer(c, func(name string, container *launcher.Container) (string, error) {
		return printable(name), updateLimits(container, given)
	})
}

// withMemory adds the least --memory to a --memory-swap, which is valid only together with one,
// such as the container's own.
func withMemory(given config.Flags) config.Flags {
	if given["memory-swap"] == nil || given["memory"] != nil {
		return given
	}
	given = maps.Clone(given)
	given["memory"] = []string{"6m"}
	return given
}

// updateLimits sets the limits of the container's launch, changed by the given flags.
func updateLimits(container *launcher.Container, changes config.Flags) error {
	launch, err := container.Launch()
	if err != nil {
		return &containerError{err: err}
	}
	all := maps.Clone(launch.Flags)
	if all == nil {
		all = config.Flags{}
	}
	maps.Copy(all, changes)
	flags, err := config.Parse(all)
	if err == nil {
		err = container.SetLimits(flags)
	}
	if errors.Is(err, launcher.ErrNoCgroup) {
		return refused("give it a limit at its launch", "container %s has no cgroup, without which it has no limits", container.Name())
	}
	if err != nil {
		return &containerError{err: err}
	}
	return nil
}
