package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) seccompTestCommand() *ucli.Command {
	return &ucli.Command{Name: "test"}
}
