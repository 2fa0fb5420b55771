package cli

import (
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/seccomp/analyze"
)

func (a *app) seccompTestCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "test",
		Usage:     "check a profile against a file of assertions",
		ArgsUsage: "FILE",
		Description: `FILE has one assertion on each line; a # starts a comment:

  allow chown with CAP_AUDIT_CONTROL
  deny ptrace,@module
  deny EPERM mount without CAP_SYS_ADMIN
  allow socket(AF_INET) on arm64

The verbs are allow, deny, kill, log, notify, trace and trap. Omitted arguments match
any value: an assertion is proved for all of them. Exits with status 1 if one does not
hold.`,
		Flags:  append(targetFlags(), profileFlag(), formatFlag()),
		Action: a.assertAction,
	}
}

// assertAction returns status 1 if an assertion does not hold.
func (a *app) assertAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	file := c.Args().First()
	data, err := readLines("assertions", file)
	if err != nil {
		return err
	}
	t, err := target(c)
	if err != nil {
		return err
	}
	assertions, err := analyze.ParseAssertions(file, data, t.Arch)
	if err != nil {
		return err
	}
	p, err := a.policy(c)
	if err != nil {
		return err
	}
	failures, err := analyze.Check(p.Profile, assertions, p.Target)
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(a.stdout, map[string]any{"passed": len(assertions) - len(failures), "failures": append([]analyze.Failure{}, failures...)})
	} else {
		for _, f := range failures {
			fmt.Fprintln(a.stdout, printable(f.String()))
		}
		_, err = fmt.Fprintf(a.stdout, "%d passed, %d failed\n", len(assertions)-len(failures), len(failures))
	}
	if err == nil && len(failures) > 0 {
		return status(1)
	}
	return err
}
