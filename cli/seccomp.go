package cli

import ucli "github.com/urfave/cli/v2"

// seccompCommand returns the verbs for people who write profiles. All except dump work without
// root.
func (a *app) seccompCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "seccomp",
		Usage: "explain, check, write and compare seccomp profiles",
		Subcommands: []*ucli.Command{
			a.seccompExplainCommand(),
			a.seccompLintCommand(),
			a.seccompEditCommand(),
			a.seccompShowCommand(),
			a.seccompDiffCommand(),
			a.seccompTestCommand(),
			a.seccompDumpCommand(),
			a.seccompMatrixCommand(),
		},
	}
}
