package cli

import (
	"bytes"
	"fmt"
	"strconv"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/seccomp"
)

func (a *app) seccompDumpCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "dump",
		Usage:     "print the filters of a live process, as the kernel has them; needs root",
		ArgsUsage: "PID",
		Flags:     append(targetFlags(), text("", "against", "", "compare them with what the profile in `FILE` gives, or default")),
		Action:    a.dumpAction,
	}
}

// dumpAction ends with status 1 when --against finds a difference.
func (a *app) dumpAction(c *ucli.Context) error {
	if err := words(c, 1, 1); err != nil {
		return err
	}
	pid, err := strconv.Atoi(c.Args().First())
	if err != nil || pid <= 0 {
		return &usageError{"dump " + c.Args().First() + ": not a process ID", "'ps -e' lists the processes"}
	}
	filters, err := seccomp.Dump(pid)
	if err != nil {
		return err
	}
	if against := c.String("against"); against != "" {
		return a.dumpAgainst(c, filters, against)
	}
	if len(filters) == 0 {
		_, err := fmt.Fprintf(a.stdout, "process %d has no filter\n", pid)
		return err
	}
	for i, f := range filters {
		if _, err := fmt.Fprintf(a.stdout, "filter %d of %d, %d instructions\n%s", i+1, len(filters), len(f.Instructions), f.Disassemble()); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) dumpAgainst(c *ucli.Context, filters []*seccomp.Program, name string) error {
	profile, err := loadProfile(name)
	if err != nil {
		return err
	}
	t, err := target(c)
	if err != nil {
		return err
	}
	p, err := profile.Resolve(t)
	if err != nil {
		return err
	}
	want, err := p.Compile()
	if err != nil {
		return err
	}
	for i, f := range filters {
		if bytes.Equal(f.Bytes(), want.Bytes()) {
			_, err := fmt.Fprintf(a.stdout, "filter %d of %d is what %s gives, to the byte\n", i+1, len(filters), name)
			return err
		}
	}
	if len(filters) != 1 {
		_, err = fmt.Fprintf(a.stdout, "none of the %d filters is what %s gives\n", len(filters), name)
	} else {
		err = a.dumpDifferences(p, filters[0], want, name)
	}
	if err != nil {
		return err
	}
	return status(1)
}

// dumpDifferences compares two programs call by call.
func (a *app) dumpDifferences(p *seccomp.Policy, got, want *seccomp.Program, name string) error {
	differences, err := seccomp.Compare(p, got, p, want)
	if err != nil {
		return err
	}
	if len(differences) == 0 {
		_, err := fmt.Fprintf(a.stdout, "the filter is not what %s gives, but no verdict differs\n", name)
		return err
	}
	return a.writeDifferences(differences, "process", name)
}
