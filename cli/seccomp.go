package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) seccompCommand() *ucli.Command {
	return &ucli.Command{Name: "seccomp", Usage: "explain, check, write and compare seccomp profiles"}
}
