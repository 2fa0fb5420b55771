package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) doctorCommand() *ucli.Command {
	return &ucli.Command{Name: "doctor", Usage: "check that this machine has what a launch needs"}
}
