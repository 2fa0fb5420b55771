package cli

import (
	"fmt"
	"slices"
	"text/tabwriter"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
)

func (a *app) seccompDiffCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "diff",
		Usage:     "list the calls on which two profiles differ; exits with status 1 if there are any",
		ArgsUsage: "PROFILE PROFILE",
		Flags:     append(targetFlags(), firstProfileFlag(), toggle("", "all-caps", "", "compare for each capability that a profile asks about, added or dropped alone, for all and for none"), formatFlag()),
		Action:    a.diffAction,
	}
}

// setDifferences are the differences for one set of capabilities.
type setDifferences struct {
	Set         string               `json:"capabilities"`
	Differences []analyze.Difference `json:"differences"`
}

func (a *app) diffAction(c *ucli.Context) error {
	names := profileNames(c)
	given := len(names) - c.NArg() // by --profile
	if err := checkArgs(c, 2-given, 2-given); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	profiles := make([]*seccomp.Profile, 2)
	for i, name := range names {
		if profiles[i], err = a.loadProfile(name); err != nil {
			return err
		}
	}
	t, err := target(c)
	if err != nil {
		return err
	}
	all, err := diffSets(profiles, t, c.Bool("all-caps"))
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(a.stdout, all)
	} else {
		err = a.writeSets(all, names[0], names[1])
	}
	if err == nil && slices.ContainsFunc(all, func(s setDifferences) bool { return len(s.Differences) > 0 }) {
		return status(1)
	}
	return err
}

// capabilitySets returns the given set and, if every is true, others for which the profiles may
// decide differently: with each capability of their gates added or dropped, with all, and with
// none.
func capabilitySets(profiles []*seccomp.Profile, given []string, every bool) []analyze.Column {
	sets := []analyze.Column{{Name: "as given", Capabilities: given}}
	if !every {
		return sets
	}
	var gates []string
	for _, p := range profiles {
		gates = append(gates, p.Gates()...)
	}
	slices.Sort(gates)
	for _, name := range slices.Compact(gates) {
		if i := slices.Index(given, name); i >= 0 {
			sets = append(sets, analyze.Column{Name: "without " + name, Capabilities: slices.Delete(slices.Clone(given), i, i+1)})
		} else {
			sets = append(sets, analyze.Column{Name: "with " + name, Capabilities: append(slices.Clone(given), name)})
		}
	}
	return append(sets, analyze.Column{Name: "ALL", Capabilities: slices.Clone(capname.All())}, analyze.Column{Name: "none"})
}

// diffSets compares two profiles for each of the capability sets.
func diffSets(profiles []*seccomp.Profile, t seccomp.Target, every bool) ([]setDifferences, error) {
	sets := capabilitySets(profiles, t.Capabilities, every)
	found, err := analyze.DiffColumns(t, sets, profiles[0], profiles[1])
	if err != nil {
		return nil, err
	}
	var all []setDifferences
	for i, set := range sets {
		all = append(all, setDifferences{set.Name, append([]analyze.Difference{}, found[i]...)})
	}
	return all, nil
}

func (a *app) writeSets(all []setDifferences, nameA, nameB string) error {
	for i, s := range all {
		if len(all) > 1 {
			same := i > 0 && len(s.Differences) > 0 && slices.Equal(s.Differences, all[0].Differences)
			if _, err := fmt.Fprintf(a.stdout, "capabilities %s: %s\n", s.Set, countDifferences(len(s.Differences), same)); err != nil {
				return err
			}
			if same {
				continue
			}
		}
		if err := a.writeDifferences(s.Differences, nameA, nameB); err != nil {
			return err
		}
	}
	return nil
}

func countDifferences(n int, same bool) string {
	switch {
	case n == 0:
		return "no difference"
	case same:
		return "the same differences"
	case n == 1:
		return "1 difference"
	}
	return fmt.Sprintf("%d differences", n)
}

func (a *app) writeDifferences(all []analyze.Difference, nameA, nameB string) error {
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "ARCH\tCALL\t%s\t%s\n", printable(nameA), printable(nameB))
	for _, d := range all {
		call := d.Call
		if d.Example != "" {
			call = d.Example
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.Arch, call, decided(d.A, d.RuleA), decided(d.B, d.RuleB))
	}
	return w.Flush()
}

// decided returns a verdict and the position of its rule, as text.
func decided(verdict, rule string) string {
	if rule == "" {
		return verdict
	}
	return verdict + " (" + printable(rule) + ")"
}
