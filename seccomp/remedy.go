package seccomp

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// remedies finds what lets a denied call through: capabilities to add or drop,
// other arguments, and always an edit of the profile. Each is tried: the
// program for it lets the call through.
func (e *Explainer) remedies(c CallPattern) ([]Remedy, error) {
	var all []Remedy
	opening, err := e.changes(c)
	if err != nil {
		return nil, err
	}
	for _, change := range opening {
		all = append(all, Remedy{Kind: "capability", How: change.flags(), When: change.when, Rule: change.rule})
	}
	if c.Given > 0 {
		x, _, err := e.decide(CallPattern{Name: c.Name})
		if err != nil {
			return nil, err
		}
		all = append(all, otherArguments(x.Cases)...)
	}
	base := ""
	if e.Policy.Profile.File != DefaultName {
		base = "--base " + shellWord(e.Policy.Profile.File) + " "
	}
	return append(all, Remedy{Kind: "edit", How: "minirun seccomp edit " + base + "--allow " + c.Name}), nil
}

// DefaultName is what the default profile is called in messages.
const DefaultName = "default.json"

// shellWord is a word that a shell takes as it is, quoted where it must be.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:,@%", r)
	}
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// otherArguments are the cases in which a call gets through.
func otherArguments(cases []Case) []Remedy {
	var all []Remedy
	var met []string
	for _, one := range cases {
		how := one.When
		if one.other {
			how = "not (" + strings.Join(met, " or ") + ")"
		}
		met = append(met, one.When)
		if one.passes {
			all = append(all, Remedy{Kind: "arguments", How: how, Rule: one.Rules[0], Brief: one.Brief})
		}
	}
	return all
}

// opens gives the rule that lets the call through, or "", and with which of
// the arguments that were left out, or "" when with all.
func (e *Explainer) opens(c CallPattern) (rule, when string, err error) {
	x, passes, err := e.decide(c)
	switch {
	case err != nil:
		return "", "", err
	case passes && len(x.Cases) == 0:
		return cmp.Or(x.Rule, e.Policy.Profile.DefaultActionPos.String()), "", nil
	}
	for _, one := range x.Cases {
		if one.passes && rule == "" {
			rule = cmp.Or(one.Rules[0], e.Policy.Profile.DefaultActionPos.String())
		}
	}
	if passes {
		return rule, "", nil
	}
	for _, one := range otherArguments(x.Cases) {
		when += one.How
	}
	return rule, when, nil
}

// capChange is a change of the bounding set.
type capChange struct {
	add, drop []string
	rule      string // that lets the call through then
	when      string // with which arguments only
}

func (c *capChange) flags() string {
	var flags []string
	for _, name := range c.add {
		flags = append(flags, "--cap-add "+name)
	}
	for _, name := range c.drop {
		flags = append(flags, "--cap-drop "+name)
	}
	return strings.Join(flags, " ")
}

// changes are the changes of capabilities that let a call through: first those
// of one, then those that bring in a rule which asks for several, unless one
// of them does alone.
func (e *Explainer) changes(c CallPattern) ([]capChange, error) {
	var all []capChange
	rule, _, err := e.opens(c)
	if err != nil {
		return nil, err
	}
	denied := rule == "" // with all arguments: to open some is something
	candidates, err := e.candidates(c)
	if err != nil {
		return nil, err
	}
	for _, change := range candidates {
		names := append(slices.Clone(change.add), change.drop...)
		if slices.ContainsFunc(all, func(o capChange) bool { return slices.Contains(names, append(o.add, o.drop...)[0]) }) {
			continue
		}
		other, err := e.with(change)
		var refused *Problem
		if errors.As(err, &refused) {
			continue // nothing starts with these capabilities
		}
		if err != nil {
			return nil, err
		}
		if change.rule, change.when, err = other.opens(c); err != nil {
			return nil, err
		}
		if change.rule != "" && (change.when == "" || denied) {
			all = append(all, change)
		}
	}
	return all, nil
}

// candidates are the changes of capabilities that bring in or leave out some
// rule for the call, those of one capability first.
func (e *Explainer) candidates(c CallPattern) ([]capChange, error) {
	var single, several []capChange
	has := func(n Name) bool { return slices.Contains(e.Policy.Target.Capabilities, n.Value) }
	add := func(n Name) {
		c := capChange{add: []string{n.Value}}
		if has(n) {
			c = capChange{drop: c.add}
		}
		if !slices.ContainsFunc(single, func(o capChange) bool { return o.flags() == c.flags() }) {
			single = append(single, c)
		}
	}
	for i := range e.Policy.Profile.Rules {
		rule := &e.Policy.Profile.Rules[i]
		if !rule.concerns(c.Name) {
			continue
		}
		var change capChange
		for _, n := range rule.Includes.Caps {
			add(n)
			if !has(n) {
				change.add = append(change.add, n.Value)
			}
		}
		for _, n := range rule.Excludes.Caps {
			add(n)
			if has(n) {
				change.drop = append(change.drop, n.Value)
			}
		}
		if len(change.add)+len(change.drop) > 1 {
			several = append(several, change)
		}
	}
	v, err := e.Run(c)
	if err == nil && v == bpf.Verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)) && slices.ContainsFunc(append(behind(c.Name), c.Name), e.Policy.keeps) {
		for _, gate := range e.Policy.Profile.Gates() {
			add(Name{Value: gate}) // a rule for another call may move the horizon
		}
	}
	return append(single, several...), err
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
	x, passes, err := e.decide(c)
	switch {
	case err != nil:
		return "", err
	case x.Verdict == Depends:
		return x.Because, nil
	case passes:
		return x.Verdict, nil
	}
	opening, err := e.changes(c)
	if err != nil || len(opening) == 0 {
		return x.Verdict, err
	}
	title := x.Verdict + ", open with " + opening[0].flags()
	if opening[0].when != "" {
		title += " for some arguments"
	}
	return title, nil
}
