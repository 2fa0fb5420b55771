package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) completionCommand() *ucli.Command {
	return &ucli.Command{Name: "completion", Usage: "print a shell's completion script", ArgsUsage: "bash|zsh|fish"}
}

func (a *app) completeCommand() *ucli.Command {
	return &ucli.Command{Name: "__complete", Hidden: true}
}
