package analyze

import (
	"fmt"
	"slices"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Difference is a call on which two programs have different verdicts, with a witness: the
// least such call.
type Difference struct {
	Arch    string `json:"arch"`
	Call    string `json:"call"`              // its name, or one of UnassignedNumber and OtherArchitecture
	Number  uint32 `json:"number"`            // of the witness
	Example string `json:"example,omitempty"` // the witness with arguments; empty when any arguments will do
	A       string `json:"a"`                 // verdicts
	B       string `json:"b"`
	RuleA   string `json:"ruleA,omitempty"` // FILE:LINE:COLUMN of the rule or default action that decides
	RuleB   string `json:"ruleB,omitempty"`
}

// The values of Difference.Call for calls without a name.
const (
	UnassignedNumber  = "an unassigned number"
	OtherArchitecture = "a call of another architecture"
)

// Diff compares the verdicts of two policies, which must be for the same target, on every
// number of every architecture with all arguments. An empty result proves that there is no
// difference. For each call there is one difference for each pair of verdicts. The error is
// a [*bpf.IntricateError] if a program is too intricate for the proof.
func Diff(a, b *seccomp.Policy) ([]Difference, error) {
	ea, err := NewExplainer(a)
	if err != nil {
		return nil, err
	}
	eb, err := NewExplainer(b)
	if err != nil {
		return nil, err
	}
	return compare(side{ea.walker, ea}, side{eb.walker, eb})
}

// DiffProgram is [Diff] for a program, such as that of a process, and a policy.
func DiffProgram(a *bpf.Program, b *seccomp.Policy) ([]Difference, error) {
	walker, err := a.Walker()
	if err != nil {
		return nil, err
	}
	e, err := NewExplainer(b)
	if err != nil {
		return nil, err
	}
	return compare(side{walker, nil}, side{e.walker, e})
}

// side is one of two programs.
type side struct {
	*bpf.Walker
	explainer *Explainer // nil if the profile is not known
}

// rule returns the position of the rule that decides on a call, or "".
func (s side) rule(name string, c bpf.Call, v bpf.Verdict) string {
	if s.explainer == nil {
		return ""
	}
	_, rule, _ := s.explainer.because(CallPattern{Name: name, Args: c.Args, Given: len(c.Args)}, v)
	return rule
}

type comparison struct {
	solver *bpf.Solver
	a, b   side
	found  []Difference
}

func compare(a, b side) ([]Difference, error) {
	c := &comparison{solver: bpf.NewSolver(), a: a, b: b}
	arches := bpf.Arches(a.Program(), b.Program())
	for _, arch := range bpf.Compatible(b.Program().Arch) {
		if !slices.Contains(arches, arch) {
			arches = append(arches, arch)
		}
	}
	for _, arch := range arches {
		if err := c.arch(arch); err != nil {
			return nil, err
		}
	}
	err := c.calls(Difference{Arch: "other", Call: OtherArchitecture}, func() *bpf.Scope { return c.solver.Elsewhere(arches...) })
	return c.found, err
}

// arch compares all calls of an architecture, and its unassigned numbers.
func (c *comparison) arch(arch syscalls.Arch) error {
	for _, name := range syscalls.Calls(arch) {
		number, _ := syscalls.Number(arch, name)
		if err := c.calls(Difference{Arch: arch.String(), Call: name}, func() *bpf.Scope { return c.solver.Number(arch, number) }); err != nil {
			return err
		}
	}
	return c.calls(Difference{Arch: arch.String(), Call: UnassignedNumber}, func() *bpf.Scope { return c.solver.Unassigned(arch) })
}

// calls adds a difference, based on d, for each pair of different verdicts in a scope.
func (c *comparison) calls(d Difference, scope func() *bpf.Scope) error {
	err := c.solver.Ask(func() error {
		s := scope()
		ofA, ofB := c.a.Verdicts(s), c.b.Verdicts(s)
		begin := len(c.found)
		for _, a := range ofA {
			for _, b := range ofB {
				both := a.Calls.And(b.Calls)
				if a.Verdict.Effect() == b.Verdict.Effect() || both.Empty() {
					continue
				}
				one, err := c.witness(d, a.Verdict, b.Verdict, both)
				if err != nil {
					return err
				}
				known := func(o Difference) bool { return o.A == one.A && o.B == one.B }
				if !slices.ContainsFunc(c.found[begin:], known) {
					c.found = append(c.found, one)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", d.Arch, d.Call, err)
	}
	return nil
}

// witness completes d with the least call of a set, after the emulator has confirmed both
// verdicts on it.
func (c *comparison) witness(d Difference, a, b bpf.Verdict, calls bpf.Set) (Difference, error) {
	call := calls.Least()
	if err := c.a.Confirm(call, a); err != nil {
		return d, err
	}
	if err := c.b.Confirm(call, b); err != nil {
		return d, err
	}
	d.Number, d.A, d.B = call.Nr, a.String(), b.String()
	d.RuleA, d.RuleB = c.a.rule(d.Call, call, a), c.b.rule(d.Call, call, b)
	arch, _ := syscalls.ParseArch(d.Arch)
	pattern := CallPattern{Name: d.Call, Arch: arch, Args: call.Args, Given: calls.Arguments()}
	switch {
	case d.Call == UnassignedNumber:
		pattern.Name = fmt.Sprintf("number %#x", call.Nr)
		d.Example = pattern.String()
	case d.Call == OtherArchitecture:
		d.Example = fmt.Sprintf("architecture %#x", call.Arch)
	case pattern.Given > 0:
		d.Example = pattern.String()
	}
	return d, nil
}

func (d Difference) String() string {
	call := d.Call
	if d.Example != "" {
		call = d.Example
	}
	return fmt.Sprintf("%s %s: %s, %s", d.Arch, call, d.A, d.B)
}
