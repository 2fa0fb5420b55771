package analyze

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/internal/actions"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Explainer says what a policy does to calls. Every verdict is that of the program, for all
// values of omitted arguments; the rules are read only to find the one behind it. An
// Explainer is not safe for concurrent use.
type Explainer struct {
	Policy  *seccomp.Policy
	Program *bpf.Program
	arch    syscalls.Arch // whose calls are explained
	emu     *bpf.Emulator
	walker  *bpf.Walker
	solver  *bpf.Solver
	others  map[string]*Explainer // the same profile with other capabilities
}

// NewExplainer compiles a policy. The error may be a [*seccomp.Problem], with a position.
func NewExplainer(p *seccomp.Policy) (*Explainer, error) {
	program, err := compile.Compile(p.Target.Arch, p.Seccomp, p.RulePosition)
	if err != nil {
		return nil, err
	}
	emu, err := program.Emulator()
	if err != nil {
		return nil, err
	}
	walker, err := program.Walker()
	if err != nil {
		return nil, err
	}
	return &Explainer{Policy: p, Program: program, arch: p.Target.Arch, emu: emu, walker: walker, solver: bpf.NewSolver(), others: map[string]*Explainer{}}, nil
}

// ForArch returns an explainer of the calls that programs of another architecture, such as
// 32-bit ones, make on the target's kernel. It shares state with e: the two must not be used
// concurrently.
func (e *Explainer) ForArch(arch syscalls.Arch) *Explainer {
	if arch == e.arch {
		return e
	}
	other := *e
	other.arch, other.others = arch, map[string]*Explainer{}
	return &other
}

// ask divides the calls of a pattern by the program's verdicts, and calls f with the result
// within one question. With fit, omitted arguments have no more bits than the kernel reads:
// programs usually do not pass more.
func (e *Explainer) ask(arch syscalls.Arch, c CallPattern, fit bool, f func(*bpf.Scope, []bpf.Outcome) error) error {
	number, ok := syscalls.Number(arch, c.Name)
	if !ok {
		return &NoCallError{c.Name, arch}
	}
	err := e.solver.Ask(func() error {
		scope := e.solver.Number(arch, number)
		for i := range c.Args {
			switch {
			case i < c.Given:
				scope.Fix(i, c.Args[i])
			case fit && syscalls.Int32Args(c.Name)&(1<<i) != 0:
				scope.Fit(i)
			}
		}
		return f(scope, e.walker.Verdicts(scope))
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return nil
}

// Explanation says what happens to a call.
type Explanation struct {
	Call     string   `json:"call"`
	Arch     string   `json:"arch"`
	Number   uint32   `json:"number"`
	Verdict  string   `json:"verdict"` // or [Depends]
	Because  string   `json:"because"`
	Rule     string   `json:"rule,omitempty"` // FILE:LINE:COLUMN of the rule or default action that decides
	Comment  string   `json:"comment,omitempty"`
	Cases    []Case   `json:"cases,omitempty"`
	Remedies []Remedy `json:"-"` // what would let a denied call through
}

// Case is a verdict on a call whose arguments decide, and the conditions for it.
type Case struct {
	When    string   `json:"when"`
	Verdict string   `json:"verdict"`
	Rules   []string `json:"rules"`
	Brief   string   `json:"-"` // When in few words, or ""

	passes bool
	other  bool // it is for calls that meet no condition
}

// Depends is the Verdict of a call whose omitted arguments decide.
const Depends = "DEPENDS"

// Run returns the program's verdict on a call whose omitted arguments are 0.
func (e *Explainer) Run(c CallPattern) (bpf.Verdict, error) {
	call, ok := c.Call(e.arch)
	if !ok {
		return 0, &NoCallError{c.Name, e.arch}
	}
	return e.emu.Run(call)
}

// Explain returns what happens to a call, why, and what would let it through. Each remedy has
// been tried: with it the program lets the call through. Omitted arguments may have any value
// that the kernel reads. The error is a [*NoCallError] if the architecture does not have the
// call, and a [*bpf.IntricateError] if the program is too intricate for a proof.
func (e *Explainer) Explain(c CallPattern) (*Explanation, error) {
	x, passes, err := e.verdict(c)
	if err == nil && !passes {
		x.Remedies, err = e.remedies(c)
	}
	return x, err
}

// verdict is Explain without Remedies. passes reports whether the call gets through with all
// values of omitted arguments.
func (e *Explainer) verdict(c CallPattern) (x *Explanation, passes bool, err error) {
	arch := e.arch
	number, _ := syscalls.Number(arch, c.Name)
	x = &Explanation{Call: c.String(), Arch: arch.String(), Number: number}
	err = e.ask(arch, c, true, func(scope *bpf.Scope, outcomes []bpf.Outcome) error {
		if len(outcomes) == 1 {
			v := outcomes[0].Verdict
			x.Verdict, passes = v.String(), v.Passes()
			x.Because, x.Rule, x.Comment = e.because(c, v)
			if v.Action() == unix.SECCOMP_RET_USER_NOTIF {
				x.Because += "; " + e.agent()
			}
			return nil
		}
		x.Verdict, x.Because = Depends, "its arguments decide"
		x.Cases, err = e.cases(c, scope, outcomes)
		passes = !slices.ContainsFunc(outcomes, func(o bpf.Outcome) bool { return !o.Verdict.Passes() })
		return err
	})
	return x, passes, err
}

// because explains a verdict, and returns the position and the comment of its rule.
func (e *Explainer) because(c CallPattern, v bpf.Verdict) (why, rule, comment string) {
	p := e.Policy
	if r := e.decidingRule(c, v); r != nil {
		return "the rule decides", r.Pos.String(), r.Comment
	}
	byDefault, _ := actions.ReturnValue(p.Seccomp.DefaultAction, p.Seccomp.DefaultErrnoRet)
	switch {
	case uint32(v) != byDefault && v == bpf.Verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)):
		return newerReason(p, c.Name) + ", so that programs fall back to older ones", "", ""
	case e.truncated(c):
		return "an argument that the kernel reads as 32 bits has upper bits set: no rule is trusted with it", "", ""
	case mentions(p, c.Name):
		return "rules name it, but none of them applies" + elsewhere(p, c.Name) + ": the default action", p.Profile.DefaultActionPos.String(), ""
	}
	return "no rule names it: the default action", p.Profile.DefaultActionPos.String(), ""
}

// agent says who answers a call that is notified.
func (e *Explainer) agent() string {
	if path := e.Policy.Profile.ListenerPath.Value; path != "" {
		return "the agent at " + path + " answers"
	}
	return "no listenerPath names the agent that answers, so no container starts"
}

// newerReason explains why a call gets ENOSYS.
func newerReason(p *seccomp.Policy, name string) string {
	switch {
	case keeps(p, name):
		return "rules name it, but libseccomp counts it as part of a multiplexer, and the profile names no call as new as its own number"
	case mentions(p, name):
		return "rules name it, but none of them applies" + elsewhere(p, name) + ", and it is newer than every call of those that do"
	}
	return "newer than every call that the profile names"
}

// keeps reports whether a rule that applies to the target names a call.
func keeps(p *seccomp.Policy, name string) bool {
	return slices.ContainsFunc(p.Seccomp.Syscalls, func(s specs.LinuxSyscall) bool { return slices.Contains(s.Names, name) })
}

// elsewhere lists the rules for a call that do not apply to the target's machine, whatever
// the capabilities: those for other kernels, and those for other architectures if no
// other reason leaves out a rule.
func elsewhere(p *seccomp.Policy, name string) string {
	var kernels, arches []string
	others := false
	for i, d := range p.Decisions {
		r := &p.Profile.Rules[i]
		if !r.HasName(name) {
			continue
		}
		switch d.Reason {
		case seccomp.MissingArch:
			arches = append(arches, "that at "+lineColumn(r.Pos)+" is for other architectures")
		case seccomp.ExcludedArch:
			arches = append(arches, "that at "+lineColumn(r.Pos)+" is not for "+d.By.Value)
		case seccomp.MissingKernel:
			kernels = append(kernels, "that at "+lineColumn(r.Pos)+" is for Linux "+d.By.Value+" and later")
		case seccomp.ExcludedKernel:
			kernels = append(kernels, "that at "+lineColumn(r.Pos)+" is for Linux before "+d.By.Value)
		default:
			others = true
		}
	}
	why := kernels
	if !others {
		why = append(why, arches...)
	}
	if len(why) == 0 {
		return ""
	}
	return " (" + strings.Join(why, ", ") + ")"
}

func mentions(p *seccomp.Policy, name string) bool {
	return slices.ContainsFunc(p.Profile.Rules, func(r seccomp.Rule) bool { return r.HasName(name) })
}

// decidingRule returns the rule behind a verdict, or nil. As in libseccomp, an unconditional
// rule comes before all others, else the first decides.
func (e *Explainer) decidingRule(c CallPattern, v bpf.Verdict) *seccomp.Rule {
	if e.truncated(c) {
		return nil
	}
	var conditional *seccomp.Rule
	for i, s := range e.Policy.Seccomp.Syscalls {
		rule := &e.Policy.Profile.Rules[e.Policy.Origin[i]]
		value, err := actions.ReturnValue(s.Action, s.ErrnoRet)
		if err != nil || value != uint32(v) || !rule.HasName(c.Name) {
			continue
		}
		if len(s.Args) == 0 {
			return rule
		}
		if conditional == nil && slices.ContainsFunc(actions.Alternatives(s.Args), func(g []specs.LinuxSeccompArg) bool { return holds(compared(e.Policy, g), c.Args) }) {
			conditional = rule
		}
	}
	if conditional == nil {
		conditional = e.multiplexedRule(c, v)
	}
	return conditional
}

// multiplexedRule returns the rule for a multiplexed call that decides on the multiplexer.
func (e *Explainer) multiplexedRule(c CallPattern, v bpf.Verdict) *seccomp.Rule {
	for _, g := range multiplexedConjunctions(e.Policy, c.Name) {
		value, err := actions.ReturnValue(g.rule.Action, g.rule.ErrnoRet)
		if err == nil && value == uint32(v) && holds(g.args, c.Args) {
			return g.rule
		}
	}
	return nil
}

// truncated reports whether an argument that rules compare has more bits than the kernel
// reads.
func (e *Explainer) truncated(c CallPattern) bool {
	if unconditional(e.Policy, c.Name) {
		return false
	}
	narrow := syscalls.Int32Args(c.Name)
	for _, g := range conjunctions(e.Policy, c.Name) {
		for _, a := range g.args {
			if narrow&(1<<a.Index) != 0 && c.Args[a.Index]>>32 != 0 {
				return true
			}
		}
	}
	return false
}

// isDefault reports whether a rule does what the default action does.
func isDefault(p *seccomp.Policy, s specs.LinuxSyscall) bool {
	return actions.Same(s.Action, s.ErrnoRet, p.Seccomp.DefaultAction, p.Seccomp.DefaultErrnoRet)
}

// cases lists what the omitted arguments decide: a case for each verdict with the conditions
// of its rules, and one for the calls that no condition covers. The program says which calls
// get a verdict; a condition is listed if some call that meets it gets the verdict.
func (e *Explainer) cases(c CallPattern, scope *bpf.Scope, outcomes []bpf.Outcome) ([]Case, error) {
	var cases []Case
	rest := slices.Clone(outcomes)
	for _, g := range append(conjunctions(e.Policy, c.Name), multiplexedConjunctions(e.Policy, c.Name)...) {
		want, err := actions.ReturnValue(g.rule.Action, g.rule.ErrnoRet)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(outcomes, func(o bpf.Outcome) bool { return uint32(o.Verdict) == want })
		free := slices.DeleteFunc(slices.Clone(g.args), func(a specs.LinuxSeccompArg) bool { return int(a.Index) < c.Given })
		if i < 0 || len(free) == 0 {
			continue
		}
		calls := meeting(scope, g.args)
		if !outcomes[i].Calls.And(calls).Empty() {
			cases = addCase(cases, outcomes[i].Verdict, describe(e.arch, c.Name, free), g.rule.Pos.String())
		}
		rest[i].Calls = rest[i].Calls.Minus(calls)
	}
	return e.brief(c, append(cases, e.uncovered(c, rest)...))
}

// uncovered returns the cases for calls whose verdict comes from no condition: "otherwise",
// usually for the default action. If libseccomp has compiled the rules wrongly, there are
// more, each with an example.
func (e *Explainer) uncovered(c CallPattern, rest []bpf.Outcome) []Case {
	var cases []Case
	byDefault, _ := actions.ReturnValue(e.Policy.Seccomp.DefaultAction, e.Policy.Seccomp.DefaultErrnoRet)
	rest = slices.DeleteFunc(rest, func(o bpf.Outcome) bool { return o.Calls.Empty() })
	slices.SortStableFunc(rest, func(a, b bpf.Outcome) int {
		rank := func(o bpf.Outcome) int {
			if uint32(o.Verdict) == byDefault {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	for i, o := range rest {
		witness := CallPattern{Name: c.Name, Arch: c.Arch, Args: o.Calls.Least().Args, Given: max(c.Given, o.Calls.Arguments())}
		when := "otherwise"
		if i < len(rest)-1 {
			when = "others, such as " + witness.String()
		}
		_, rule, _ := e.because(witness, o.Verdict)
		cases = append(cases, Case{When: when, Verdict: o.Verdict.String(), Rules: []string{rule}, passes: o.Verdict.Passes(), other: true})
	}
	return cases
}

func addCase(cases []Case, v bpf.Verdict, when, rule string) []Case {
	i := slices.IndexFunc(cases, func(o Case) bool { return o.Verdict == v.String() })
	if i < 0 {
		return append(cases, Case{When: when, Verdict: v.String(), Rules: []string{rule}, passes: v.Passes()})
	}
	cases[i].When += " or " + when
	if !slices.Contains(cases[i].Rules, rule) {
		cases[i].Rules = append(cases[i].Rules, rule)
	}
	return cases
}

// describe returns a conjunction as text, with the operators of C.
func describe(arch syscalls.Arch, call string, args []specs.LinuxSeccompArg) string {
	var parts []string
	for _, a := range args {
		value := syscalls.FormatArgument(arch, call, int(a.Index), a.Value)
		switch a.Op {
		case specs.OpMaskedEqual:
			parts = append(parts, fmt.Sprintf("arg%d & %s == %s", a.Index, value, syscalls.FormatArgument(arch, call, int(a.Index), a.ValueTwo)))
		default:
			parts = append(parts, fmt.Sprintf("arg%d %s %s", a.Index, operatorSign(a.Op), value))
		}
	}
	return strings.Join(parts, " and ")
}

func operatorSign(op specs.LinuxSeccompOperator) string {
	switch op {
	case specs.OpEqualTo:
		return "=="
	case specs.OpNotEqual:
		return "!="
	case specs.OpGreaterThan:
		return ">"
	case specs.OpGreaterEqual:
		return ">="
	case specs.OpLessThan:
		return "<"
	case specs.OpLessEqual:
		return "<="
	}
	return string(op)
}
