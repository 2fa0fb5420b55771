package seccomp

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// remedies finds what lets a denied call through: capabilities to add or drop,
// other arguments, and always an edit of the profile. Each is tried: the
// program for it lets the call through.
func (e *Explainer) remedies(c CallPattern) ([]Remedy, error) {
	var all []Remedy
	for _, change := range e.candidates(c.Name) {
		other, err := e.with(change)
		if err != nil {
			return nil, err
		}
		v, rule, err := other.opens(c)
		if err != nil {
			return nil, err
		}
		if v {
			all = append(all, Remedy{"capability", change.flags(), rule})
		}
	}
	if c.Given > 0 {
		cases, err := e.cases(CallPattern{Name: c.Name})
		if err != nil {
			return nil, err
		}
		for _, one := range cases {
			if one.Verdict == "ALLOW" && one.When != "otherwise" {
				all = append(all, Remedy{"arguments", one.When, one.Rules[0]})
			}
		}
	}
	base := ""
	if e.Policy.Profile.File != DefaultName {
		base = "--base " + e.Policy.Profile.File + " "
	}
	return append(all, Remedy{Kind: "edit", How: "minirun seccomp edit " + base + "--allow " + c.Name}), nil
}

// DefaultName is what the default profile is called in messages.
const DefaultName = "default.json"

// opens reports whether the call gets through whatever arguments were left out.
func (e *Explainer) opens(c CallPattern) (ok bool, rule string, err error) {
	calls := []CallPattern{c}
	if c.Given == 0 {
		for _, args := range samples(e.Policy.conditions(c.Name)) {
			c.Args = args
			calls = append(calls, c)
		}
	}
	for _, one := range calls {
		v, err := e.Run(one)
		if err != nil || v.Action() != unix.SECCOMP_RET_ALLOW && v.Action() != unix.SECCOMP_RET_LOG {
			return false, "", err
		}
		if _, rule, _ = e.because(one, v); rule == "" {
			rule = e.Policy.Profile.DefaultActionPos.String()
		}
	}
	return true, rule, nil
}

// capChange is a change of the bounding set.
type capChange struct{ add, drop []string }

func (c capChange) flags() string {
	var flags []string
	for _, name := range c.add {
		flags = append(flags, "--cap-add "+name)
	}
	for _, name := range c.drop {
		flags = append(flags, "--cap-drop "+name)
	}
	return strings.Join(flags, " ")
}

// candidates are the changes of capabilities that some rule for the call waits for.
func (e *Explainer) candidates(name string) []capChange {
	var all []capChange
	add := func(c capChange) {
		if len(c.add)+len(c.drop) > 0 && !slices.ContainsFunc(all, func(o capChange) bool { return o.flags() == c.flags() }) {
			all = append(all, c)
		}
	}
	has := func(n Name) bool { return slices.Contains(e.Policy.Target.Capabilities, n.Value) }
	for i := range e.Policy.Profile.Rules {
		rule := &e.Policy.Profile.Rules[i]
		if !rule.names(name) {
			continue
		}
		var c capChange
		for _, n := range rule.Includes.Caps {
			if !has(n) {
				c.add = append(c.add, n.Value)
			}
		}
		for _, n := range rule.Excludes.Caps {
			if has(n) {
				c.drop = append(c.drop, n.Value)
			} else {
				add(capChange{add: []string{n.Value}}) // without this rule another may decide
			}
		}
		add(c)
	}
	return all
}

// with is the same profile for a container with other capabilities.
func (e *Explainer) with(c capChange) (*Explainer, error) {
	if other, ok := e.others[c.flags()]; ok {
		return other, nil
	}
	t := e.Policy.Target
	t.Capabilities = slices.DeleteFunc(slices.Clone(t.Capabilities), func(n string) bool { return slices.Contains(c.drop, n) })
	t.Capabilities = append(t.Capabilities, c.add...)
	policy, err := e.Policy.Profile.Resolve(t)
	if err != nil {
		return nil, err
	}
	other, err := policy.Explainer()
	if err != nil {
		return nil, err
	}
	e.others[c.flags()] = other
	return other, nil
}

// Gates are the capabilities that any rule of the profile asks about, sorted.
func (p *Profile) Gates() []string {
	var all []string
	for i := range p.Rules {
		for _, n := range append(slices.Clone(p.Rules[i].Includes.Caps), p.Rules[i].Excludes.Caps...) {
			if !slices.Contains(all, n.Value) {
				all = append(all, n.Value)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Overview is a group of calls with one fate.
type Overview struct {
	Title string   `json:"title"`
	Calls []string `json:"calls"`
}

// Overview groups the architecture's calls by their verdict, and the denied
// ones by the capability that would open them.
func (e *Explainer) Overview() ([]Overview, error) {
	var groups []Overview
	for _, name := range syscalls.Calls(e.Policy.Target.Arch) {
		title, err := e.title(CallPattern{Name: name})
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(groups, func(g Overview) bool { return g.Title == title })
		if i < 0 {
			i = len(groups)
			groups = append(groups, Overview{Title: title})
		}
		groups[i].Calls = append(groups[i].Calls, name)
	}
	for _, g := range groups {
		slices.Sort(g.Calls)
	}
	slices.SortStableFunc(groups, func(a, b Overview) int { return len(b.Calls) - len(a.Calls) })
	return groups, nil
}

func (e *Explainer) title(c CallPattern) (string, error) {
	cases, err := e.cases(c)
	if err != nil {
		return "", err
	}
	if len(cases) > 0 {
		return "its arguments decide", nil
	}
	v, err := e.Run(c)
	if err != nil {
		return "", err
	}
	if v.Action() == unix.SECCOMP_RET_ALLOW {
		return v.String(), nil
	}
	for _, change := range e.candidates(c.Name) {
		other, err := e.with(change)
		if err != nil {
			return "", err
		}
		if ok, _, err := other.opens(c); err != nil || ok {
			return v.String() + ", open with " + change.flags(), err
		}
	}
	return v.String(), nil
}
