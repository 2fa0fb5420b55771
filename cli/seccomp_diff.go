package cli

import (
	"fmt"
	"slices"
	"text/tabwriter"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp"
)

func (a *app) seccompDiffCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "diff",
		Usage:     "list the calls that two profiles treat differently; ends with status 1 if there are any",
		ArgsUsage: "PROFILE PROFILE",
		Flags:     append(targetFlags(), toggle("", "all-caps", "", "for each capability that either profile asks about, added alone, and for all"), formatFlag()),
		Action:    a.diffAction,
	}
}

// setDifferences are those for one set of capabilities.
type setDifferences struct {
	Set         string               `json:"capabilities"`
	Differences []seccomp.Difference `json:"differences"`
}

func (a *app) diffAction(c *ucli.Context) error {
	if err := words(c, 2, 2); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	var profiles [2]*seccomp.Profile
	for i, name := range c.Args().Slice() {
		if profiles[i], err = loadProfile(name); err != nil {
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
		err = a.writeSets(all, c.Args().Get(0), c.Args().Get(1))
	}
	if err == nil && slices.ContainsFunc(all, func(s setDifferences) bool { return len(s.Differences) > 0 }) {
		return status(1)
	}
	return err
}

// diffSets compares for the target, or for it with each capability that either
// profile asks about, and with all.
func diffSets(profiles [2]*seccomp.Profile, t seccomp.Target, everyCap bool) ([]setDifferences, error) {
	sets := [][]string{nil}
	if everyCap {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(append(profiles[0].Gates(), profiles[1].Gates()...)))) {
			if !slices.Contains(t.Capabilities, name) {
				sets = append(sets, []string{name})
			}
		}
		sets = append(sets, launcher.AllCapabilities())
	}
	var all []setDifferences
	for i, add := range sets {
		with := t
		with.Capabilities = append(slices.Clone(t.Capabilities), add...)
		a, err := profiles[0].Resolve(with)
		if err != nil {
			return nil, err
		}
		b, err := profiles[1].Resolve(with)
		if err != nil {
			return nil, err
		}
		d := setDifferences{Set: "as given"}
		switch {
		case i > 0 && len(add) == 1:
			d.Set = "with " + add[0]
		case i > 0:
			d.Set = "with ALL"
		}
		if d.Differences, err = seccomp.Diff(a, b); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func (a *app) writeSets(all []setDifferences, nameA, nameB string) error {
	for i, s := range all {
		if len(all) > 1 {
			same := ""
			if i > 0 && len(s.Differences) > 0 && slices.Equal(s.Differences, all[0].Differences) {
				same = ", the same"
			}
			if _, err := fmt.Fprintf(a.stdout, "capabilities %s: %d differences%s\n", s.Set, len(s.Differences), same); err != nil {
				return err
			}
			if same != "" {
				continue
			}
		}
		if err := a.writeDifferences(s.Differences, nameA, nameB); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) writeDifferences(all []seccomp.Difference, nameA, nameB string) error {
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.Arch, call, d.A, d.B)
	}
	return w.Flush()
}
