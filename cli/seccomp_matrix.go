package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) seccompMatrixCommand() *ucli.Command {
	return &ucli.Command{Name: "matrix"}
}
