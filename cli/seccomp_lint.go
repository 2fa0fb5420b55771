package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
)

func (a *app) seccompLintCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "lint",
		Usage:     "find mistakes and surprises in profiles; exits with status 1 on errors and warnings",
		ArgsUsage: "FILE|default...",
		Flags: append(targetFlags(), firstProfileFlag(),
			choice("", "format", "text", "print `FORMAT`: text, json or sarif").with(oneOf("text", "json", "sarif")),
			toggle("", "fix", "", "apply the safe fixes to the files"),
		),
		Action: a.lintAction,
	}
}

func (a *app) lintAction(c *ucli.Context) error {
	files := profileNames(c)
	if len(files) == 0 {
		return checkArgs(c, 1, -1)
	}
	form := c.String("format")
	if !slices.Contains([]string{"text", "json", "sarif"}, form) {
		return &usageError{"--format " + form + ": unknown format", "use text, json or sarif"}
	}
	t, err := target(c)
	if err != nil {
		return err
	}
	all := []analyze.Finding{}
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
	if slices.ContainsFunc(all, func(f analyze.Finding) bool { return f.Severity != analyze.Info }) {
		return status(1)
	}
	return nil
}

// lintFile returns the findings in a file; with fix, those that remain.
func (a *app) lintFile(file string, t seccomp.Target, fix bool) ([]analyze.Finding, error) {
	if file == "default" {
		return lint(profiles.DefaultName, profiles.Default(), t) // there is no file to fix
	}
	data, err := readProfile(file, "give files, or default")
	if err != nil {
		return nil, err
	}
	findings, err := lint(file, data, t)
	if err != nil || !fix {
		return findings, err
	}
	fixed, n, err := analyze.Fix(data, findings)
	if errors.Is(err, seccomp.ErrYAML) {
		return nil, hint.With(err, "make JSON of it by 'minirun seccomp edit --base "+shellWord(file)+"'")
	}
	if err != nil || n == 0 {
		return findings, err
	}
	if err := writeFile(file, fixed); err != nil {
		return nil, err
	}
	a.ui.say("%s: %d fixed", file, n)
	return lint(file, fixed, t)
}

// lint returns the findings of [analyze.Lint], with their fixes in minirun's words.
func lint(file string, data []byte, t seccomp.Target) ([]analyze.Finding, error) {
	findings, err := analyze.Lint(file, data, t)
	for i, f := range findings {
		findings[i].Fix = problemHint(f.Fix, f.Cause)
	}
	return findings, err
}

func (a *app) writeFindings(all []analyze.Finding, form string) error {
	switch form {
	case "json":
		return writeJSON(a.stdout, all)
	case "sarif":
		base, err := os.Getwd()
		if err != nil { // the directory was removed: the paths stay as they are
			base = "/"
		}
		return writeJSON(a.stdout, analyze.SARIF(all, base))
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
