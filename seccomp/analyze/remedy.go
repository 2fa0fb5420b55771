package analyze

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Remedy is a change that lets a denied call through.
type Remedy struct {
	Kind      RemedyKind
	Add, Drop []string      // capabilities, for RemedyCapability
	Arguments string        // conditions on the arguments, for RemedyArguments
	Edit      *seccomp.Edit // of the profile, for RemedyEdit

	When  string // conditions on the omitted arguments, if the remedy does not help with all
	Rule  string // FILE:LINE:COLUMN of the rule that then lets the call through, or ""
	Brief string // Arguments in few words, or ""
}

// RemedyKind is a kind of change.
type RemedyKind string

// The kinds, in the order in which they are listed.
const (
	RemedyCapability RemedyKind = "capability" // another bounding set
	RemedyArguments  RemedyKind = "arguments"  // the same call with other arguments
	RemedyEdit       RemedyKind = "edit"       // another profile
)

// remedies returns what lets a denied call through: capabilities to add or drop, other
// arguments, and always an edit of the profile. Each change of capabilities has been tried.
func (e *Explainer) remedies(c CallPattern) ([]Remedy, error) {
	all, err := e.capabilityRemedies(c)
	if err != nil {
		return nil, err
	}
	if c.Given > 0 {
		x, _, err := e.verdict(CallPattern{Name: c.Name})
		if err != nil {
			return nil, err
		}
		all = append(all, otherArguments(x.Cases)...)
	}
	edit := &seccomp.Edit{Action: seccomp.Allow, Names: []string{c.Name}}
	return append(all, Remedy{Kind: RemedyEdit, Edit: edit}), nil
}

// otherArguments returns the arguments with which a call gets through.
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
			all = append(all, Remedy{Kind: RemedyArguments, Arguments: how, Rule: one.Rules[0], Brief: one.Brief})
		}
	}
	return all
}

// passingRule returns the position of the rule that lets the call through, or "", and the
// conditions on omitted arguments under which it does, or "".
func (e *Explainer) passingRule(c CallPattern) (rule, when string, err error) {
	x, passes, err := e.verdict(c)
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
		when += one.Arguments
	}
	return rule, when, nil
}

// key returns a string that is equal for equal changes of the bounding set.
func (r *Remedy) key() string {
	return "+" + strings.Join(r.Add, "+") + "-" + strings.Join(r.Drop, "-")
}

// capabilityRemedies returns the changes of capabilities that let a call through: first
// changes of one capability, then of several for which a rule asks, unless one of these is
// enough.
func (e *Explainer) capabilityRemedies(c CallPattern) ([]Remedy, error) {
	var all []Remedy
	rule, _, err := e.passingRule(c)
	if err != nil {
		return nil, err
	}
	denied := rule == "" // with all arguments, so a remedy for some of them is useful
	candidates, err := e.candidates(c)
	if err != nil {
		return nil, err
	}
	for _, r := range candidates {
		names := slices.Concat(r.Add, r.Drop)
		if slices.ContainsFunc(all, func(o Remedy) bool { return slices.Contains(names, slices.Concat(o.Add, o.Drop)[0]) }) {
			continue
		}
		other, err := e.with(r)
		var refused *seccomp.Problem
		if errors.As(err, &refused) {
			continue // the profile cannot be compiled for these capabilities
		}
		if err != nil {
			return nil, err
		}
		if r.Rule, r.When, err = other.passingRule(c); err != nil {
			return nil, err
		}
		if r.Rule != "" && (r.When == "" || denied) {
			all = append(all, r)
		}
	}
	return all, nil
}

// candidates returns the changes of capabilities that decide whether some rule for the call
// applies, those of one capability first.
func (e *Explainer) candidates(c CallPattern) ([]Remedy, error) {
	var single, several []Remedy
	has := func(n seccomp.Name) bool { return slices.Contains(e.Policy.Target.Capabilities, n.Value) }
	add := func(n seccomp.Name) {
		r := Remedy{Kind: RemedyCapability, Add: []string{n.Value}}
		if has(n) {
			r = Remedy{Kind: RemedyCapability, Drop: r.Add}
		}
		if !slices.ContainsFunc(single, func(o Remedy) bool { return o.key() == r.key() }) {
			single = append(single, r)
		}
	}
	for i := range e.Policy.Profile.Rules {
		rule := &e.Policy.Profile.Rules[i]
		if !concerns(rule, c.Name) {
			continue
		}
		change := Remedy{Kind: RemedyCapability}
		for _, n := range rule.Includes.Caps {
			add(n)
			if !has(n) {
				change.Add = append(change.Add, n.Value)
			}
		}
		for _, n := range rule.Excludes.Caps {
			add(n)
			if has(n) {
				change.Drop = append(change.Drop, n.Value)
			}
		}
		if len(change.Add)+len(change.Drop) > 1 {
			several = append(several, change)
		}
	}
	keepsName := func(name string) bool { return keeps(e.Policy, name) }
	v, err := e.Run(c)
	if err == nil && v == bpf.Verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)) && slices.ContainsFunc(append(multiplexedCalls(c.Name), c.Name), keepsName) {
		for _, gate := range e.Policy.Profile.Gates() {
			add(seccomp.Name{Value: gate}) // a rule that names a newer call makes this one known
		}
	}
	return append(single, several...), err
}

// with returns an explainer for the same profile with the capabilities of a remedy.
func (e *Explainer) with(r Remedy) (*Explainer, error) {
	if other, ok := e.others[r.key()]; ok {
		return other, nil
	}
	t := e.Policy.Target
	t.Capabilities = slices.DeleteFunc(slices.Clone(t.Capabilities), func(n string) bool { return slices.Contains(r.Drop, n) })
	t.Capabilities = append(t.Capabilities, r.Add...)
	policy, err := e.Policy.Profile.Resolve(t)
	if err != nil {
		return nil, err
	}
	other, err := NewExplainer(policy)
	if err != nil {
		return nil, err
	}
	other = other.ForArch(e.arch)
	e.others[r.key()] = other
	return other, nil
}

// Overview is a group of calls with the same verdict and the same remedy.
type Overview struct {
	Verdict       string   // or [Depends]
	Add, Drop     []string // the first change of capabilities that lets the calls through, if any
	SomeArguments bool     // the change helps with some arguments only
	Calls         []string
}

func (o *Overview) like(p *Overview) bool {
	return o.Verdict == p.Verdict && o.SomeArguments == p.SomeArguments && slices.Equal(o.Add, p.Add) && slices.Equal(o.Drop, p.Drop)
}

// Overview groups the architecture's calls by their verdict, and the denied ones by
// the capability that lets them through. The largest group comes first.
func (e *Explainer) Overview() ([]Overview, error) {
	var groups []Overview
	for _, name := range syscalls.Calls(e.Policy.Target.Arch) {
		group, err := e.group(CallPattern{Name: name})
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(groups, func(o Overview) bool { return o.like(group) })
		if i < 0 {
			i = len(groups)
			groups = append(groups, *group)
		}
		groups[i].Calls = append(groups[i].Calls, name)
	}
	for _, g := range groups {
		slices.Sort(g.Calls)
	}
	slices.SortStableFunc(groups, func(a, b Overview) int { return len(b.Calls) - len(a.Calls) })
	return groups, nil
}

// group returns the group that a call belongs to, without calls.
func (e *Explainer) group(c CallPattern) (*Overview, error) {
	x, passes, err := e.verdict(c)
	if err != nil {
		return nil, err
	}
	o := &Overview{Verdict: x.Verdict}
	if passes || x.Verdict == Depends {
		return o, nil
	}
	remedies, err := e.capabilityRemedies(c)
	if err != nil || len(remedies) == 0 {
		return o, err
	}
	o.Add, o.Drop, o.SomeArguments = remedies[0].Add, remedies[0].Drop, remedies[0].When != ""
	return o, nil
}
