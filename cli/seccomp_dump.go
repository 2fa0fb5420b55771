package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) seccompDumpCommand() *ucli.Command {
	return &ucli.Command{Name: "dump"}
}
