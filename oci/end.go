package oci

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
)

func (c *command) killCommand() *ucli.Command {
	return &ucli.Command{
		Name: "kill", Usage: "send a signal to a container's PID 1 (default: SIGTERM)", ArgsUsage: "ID [SIGNAL]",
		Flags: []ucli.Flag{&ucli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "a container that has ended is no error", Hidden: true}},
		Action: c.onContainer(2, func(ctx *ucli.Context, container *launcher.Container) error {
			sig, err := unix.SIGTERM, error(nil)
			if ctx.NArg() == 2 {
				if sig, err = parseSignal(ctx.Args().Get(1)); err != nil {
					return err
				}
			}
			err = container.Signal(sig)
			if errors.Is(err, launcher.ErrNotRunning) && ctx.Bool("all") {
				return nil
			}
			return err
		}),
	}
}

// parseSignal reads a number or a name, with or without SIG.
func parseSignal(text string) (unix.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", text)
}

func (c *command) deleteCommand() *ucli.Command {
	return &ucli.Command{
		Name: "delete", Usage: "remove a container that has ended or was not started", ArgsUsage: "ID",
		Flags: []ucli.Flag{&ucli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "kill it first; one that does not exist is no error"}},
		Action: func(ctx *ucli.Context) error {
			if err := checkArgs(ctx, 1, 1); err != nil {
				return err
			}
			container, err := c.open(ctx)
			if errors.Is(err, errNotExist) && ctx.Bool("force") {
				return nil
			}
			if err != nil {
				return err
			}
			return remove(container, ctx.Bool("force"))
		},
	}
}

func remove(container *launcher.Container, force bool) error {
	if force {
		if err := container.KillAndWait(); err != nil {
			return err
		}
	}
	err := container.Delete()
	var refused *launcher.StateError
	if errors.As(err, &refused) {
		return fmt.Errorf("cannot delete container %s that is not stopped: %s", refused.Name, refused.Status)
	}
	return err
}

func (c *command) checkpointCommand(verb string) *ucli.Command {
	return &ucli.Command{
		Name: verb, Usage: "refused: minirun cannot do it", Hidden: true, SkipFlagParsing: true,
		Action: func(*ucli.Context) error {
			return fmt.Errorf("%s: minirun cannot checkpoint or restore a container; runc and crun can", verb)
		},
	}
}
