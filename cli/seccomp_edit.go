package cli

import (
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/seccomp/syscalls"
)

func (a *app) seccompEditCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "edit",
		Usage: "print a profile that allows, denies or gates other calls",
		Description: `Each call is first removed from every rule that names it; everything else stays,
comments included. The profile is written to standard output:

  minirun seccomp edit --gate CAP_AUDIT_CONTROL=@chown --deny ptrace > custom.json

` + wrapped("The groups are "+strings.Join(syscalls.Groups(), ", ")+".", 0),
		Flags: []ucli.Flag{
			choice("", "base", "default", "edit the profile in `FILE`, or Docker's default one").with(files("default")),
			list("", "allow", "", "allow `NAMES`: system calls and @groups, separated by commas").with(callNames),
			list("", "deny", "", "deny `NAMES`").with(callNames),
			list("", "gate", "", "allow names only with a capability, `CAP=NAMES`").with(gates),
		},
		Action: func(c *ucli.Context) error {
			if err := checkArgs(c, 0, 0); err != nil {
				return err
			}
			profile, err := a.loadProfile(c.String("base"))
			if err != nil {
				return err
			}
			changes, err := edits(c, "")
			if err != nil {
				return err
			}
			edited, err := edit(profile, changes, "")
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(edited)
			return err
		},
	}
}
