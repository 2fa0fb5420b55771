package cli

import (
	ucli "github.com/urfave/cli/v2"
)

func (a *app) seccompEditCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "edit",
		Usage: "print a profile that allows, denies or gates other calls",
		Flags: []ucli.Flag{
			choice("", "base", "default", "begin with the profile in `FILE`, or with Docker's default one"),
			list("", "allow", "", "let `NAMES` through: system calls and @groups, with commas between"),
			list("", "deny", "", "deny `NAMES`"),
			list("", "gate", "", "let names through with a capability only, `CAP=NAMES`"),
		},
		Action: func(c *ucli.Context) error {
			if err := words(c, 0, 0); err != nil {
				return err
			}
			profile, err := loadProfile(c.String("base"))
			if err != nil {
				return err
			}
			changes, err := edits(c, "")
			if err != nil {
				return err
			}
			edited, err := profile.Edit(changes)
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(edited)
			return err
		},
	}
}
