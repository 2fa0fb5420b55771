package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
)

func (a *app) seccompExplainCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "explain",
		Usage:     "print the verdict on system calls, the rule that decides, and what would change it",
		ArgsUsage: "[CALL[(ARGUMENT,...)]|@GROUP]...",
		Flags:     append(targetFlags(), profileFlag(), formatFlag()),
		Action:    a.explainAction,
	}
}

func (a *app) explainAction(c *ucli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	p, err := a.policy(c)
	if err != nil {
		return err
	}
	explainer, err := analyze.NewExplainer(p)
	if err != nil {
		return err
	}
	a.warnOfIdle(p.Profile, c.StringSlice("cap-add"))
	if c.NArg() == 0 {
		return a.overview(explainer, asJSON)
	}
	all := []explanation{}
	var unknown unknownCalls
	for _, text := range c.Args().Slice() {
		some, err := explainText(explainer, text)
		if err != nil && !unknown.add(err) {
			return err
		}
		all = append(all, some...)
	}
	if asJSON {
		err = writeJSON(a.stdout, all)
	} else {
		err = writeExplanations(a.stdout, all)
	}
	if err == nil && len(unknown) > 0 {
		return unknown
	}
	return err
}

func explainText(e *analyze.Explainer, text string) ([]explanation, error) {
	calls, err := analyze.ParseCalls(text, e.Policy.Target.Arch)
	if err != nil {
		return nil, err
	}
	var all []explanation
	for _, call := range calls {
		x, err := e.Explain(call)
		var missing *analyze.NoCallError
		if errors.As(err, &missing) {
			if arch, ok := missing.Elsewhere(); ok {
				err = hint.With(err, fmt.Sprintf("%s has it: --arch %s", arch, arch))
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, inWords(x, e.Policy.Profile.File))
	}
	return all, nil
}

// unknownCalls are the errors for arguments that are not calls. The other arguments have been
// explained.
type unknownCalls []error

// add adds an error if it is about one argument, and reports whether it is.
func (u *unknownCalls) add(err error) bool {
	var wrong *analyze.CallError
	var missing *analyze.NoCallError
	if !errors.As(err, &wrong) && !errors.As(err, &missing) {
		return false
	}
	*u = append(*u, err)
	return true
}

func (u unknownCalls) Error() string { return strings.Join(u.Lines(), "\n") }

// Lines returns a line for each error, with its hint if there are several.
func (u unknownCalls) Lines() []string {
	var all []string
	for _, err := range u {
		line := err.Error()
		if len(u) > 1 {
			line = withHint(line, hintOf(err))
		}
		all = append(all, line)
	}
	return all
}

// Unwrap returns a single error; several have their hints in their lines.
func (u unknownCalls) Unwrap() error {
	if len(u) > 1 {
		return nil
	}
	return u[0]
}

func writeExplanations(w io.Writer, all []explanation) error {
	var text bytes.Buffer
	for i, x := range all {
		if i > 0 {
			fmt.Fprintln(&text)
		}
		writeExplanation(&text, x)
	}
	_, err := text.WriteTo(w)
	return err
}

// warnOfIdle prints a warning about each added capability that no rule asks about.
func (a *app) warnOfIdle(p *seccomp.Profile, added []string) {
	names, err := config.BoundingSet(added, []string{"ALL"}, false)
	if err != nil || slices.ContainsFunc(added, func(n string) bool { return strings.EqualFold(n, "ALL") }) {
		return // reported elsewhere; ALL is meant as a whole
	}
	gates := p.Gates()
	for _, name := range names {
		if !slices.Contains(gates, name) {
			a.ui.warn("--cap-add %s changes nothing in %s: no rule asks about it", name, p.File)
		}
	}
}

func writeExplanation(w io.Writer, x explanation) {
	verdict := x.Verdict
	if verdict == analyze.Depends {
		verdict = "depends on its arguments"
	}
	fmt.Fprintf(w, "%s: %s\n", x.Call, verdict)
	for _, one := range x.Cases {
		rules := one.Rules[0]
		if more := len(one.Rules) - 1; more > 0 {
			rules += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(w, "  %-14s %s%s\n", one.Verdict, wrapped(printable(cmp.Or(one.Brief, one.When)), 17), at(rules))
	}
	writeReasons(w, x)
}

// writeReasons prints why a call has its verdict, and what would let it through.
func writeReasons(w io.Writer, x explanation) {
	if len(x.Cases) == 0 {
		fmt.Fprintf(w, "  %s%s\n", printable(x.Because), at(x.Rule))
	}
	if x.Comment != "" {
		fmt.Fprintf(w, "  comment: %s\n", printable(x.Comment))
	}
	for i, change := range x.Changes {
		label := ""
		if i == 0 {
			label = "to allow it"
		}
		how := cmp.Or(change.brief, change.How)
		if change.When != "" {
			how += ", when " + change.When
		}
		fmt.Fprintf(w, "  %-11s  %s%s\n", label, wrapped(printable(how), 15), at(change.Rule))
	}
}

func at(rule string) string {
	if rule == "" {
		return ""
	}
	return "  (" + printable(rule) + ")"
}

func (a *app) overview(e *analyze.Explainer, asJSON bool) error {
	groups, err := e.Overview()
	if err != nil {
		return err
	}
	if asJSON {
		type group struct {
			Title string   `json:"title"`
			Calls []string `json:"calls"`
		}
		all := []group{}
		for _, g := range groups {
			all = append(all, group{overviewTitle(g), g.Calls})
		}
		return writeJSON(a.stdout, all)
	}
	var text bytes.Buffer
	for i, g := range groups {
		if i > 0 {
			fmt.Fprintln(&text)
		}
		fmt.Fprintf(&text, "%s (%d)\n  %s\n", overviewTitle(g), len(g.Calls), wrapped(strings.Join(g.Calls, " "), 2))
	}
	_, err = text.WriteTo(a.stdout)
	return err
}
