package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) seccompDiffCommand() *ucli.Command {
	return &ucli.Command{Name: "diff"}
}
