package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) seccompExplainCommand() *ucli.Command {
	return &ucli.Command{Name: "explain"}
}
