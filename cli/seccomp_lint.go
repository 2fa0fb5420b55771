package cli

import (
	"fmt"
	"os"
	"slices"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
)

func (a *app) seccompLintCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "lint",
		Usage:     "find what is wrong with profiles and what may surprise; ends with status 1 on errors and warnings",
		ArgsUsage: "FILE|default...",
		Flags: append(targetFlags(), firstProfileFlag(),
			choice("", "format", "text", "print `FORMAT`: text, json or sarif").with(oneOf("text", "json", "sarif")),
			toggle("", "fix", "", "apply the safe remedies to the files"),
		),
		Action: a.lintAction,
	}
}

func (a *app) lintAction(c *ucli.Context) error {
	files := profileNames(c)
	if len(files) == 0 {
		return words(c, 1, -1)
	}
	form := c.String("format")
	if !slices.Contains([]string{"text", "json", "sarif"}, form) {
		return &usageError{"--format " + form + ": unknown format", "use text, json or sarif"}
	}
	t, err := target(c)
	if err != nil {
		return err
	}
	all := []seccomp.Finding{}
	for _, file := range files {
		findings, err := a.lintFile(file, t, c.Bool("fix"))
		if err != nil {
			return err
		}
		all = append(all, findings...)
	}
	if err := a.writeFindings(all, form); err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(f seccomp.Finding) bool { return f.Severity != seccomp.Info }) {
		return status(1)
	}
	return nil
}

// lintFile gives what is found in a file, with fix what is left of it.
func (a *app) lintFile(file string, t seccomp.Target, fix bool) ([]seccomp.Finding, error) {
	if file == "default" {
		return seccomp.Lint(seccomp.DefaultName, profiles.Default(), t) // there is no file to fix
	}
	data, err := readProfile(file, "give files, or default")
	if err != nil {
		return nil, err
	}
	findings, err := seccomp.Lint(file, data, t)
	if err != nil || !fix {
		return findings, err
	}
	fixed, n, err := seccomp.FixFindings(data, findings)
	if err != nil || n == 0 {
		return findings, err
	}
	if err := writeFile(file, fixed); err != nil {
		return nil, err
	}
	a.ui.say("%s: %d fixed", file, n)
	return seccomp.Lint(file, fixed, t)
}

func (a *app) writeFindings(all []seccomp.Finding, form string) error {
	switch form {
	case "json":
		return writeJSON(a.stdout, all)
	case "sarif":
		base, err := os.Getwd()
		if err != nil { // it was removed: the paths stay as they are
			base = "/"
		}
		return writeJSON(a.stdout, seccomp.SARIF(all, base))
	}
	for _, f := range all {
		text := fmt.Sprintf("%s: %s: %s [%s]", f.Where, f.Severity, f.Message, f.ID)
		if f.Fix != "" {
			text += "; " + f.Fix
		}
		if _, err := fmt.Fprintln(a.stdout, printable(text)); err != nil {
			return err
		}
	}
	return nil
}
