package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) seccompLintCommand() *ucli.Command {
	return &ucli.Command{Name: "lint"}
}
