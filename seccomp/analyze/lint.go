package analyze

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/internal/actions"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Severity says how much a finding matters.
type Severity string

// The severities, worst first. A finding with Info may well be intended.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Finding is a mistake in a profile, or something that may surprise its author.
type Finding struct {
	Pos      seccomp.Position `json:"-"`
	Where    string           `json:"where"`
	Severity Severity         `json:"severity"`
	ID       string           `json:"id"` // of LintRules
	Message  string           `json:"message"`
	Fix      string           `json:"fix,omitempty"`
	Cause    seccomp.Cause    `json:"-"` // as in [seccomp.Problem]

	removable bool // removing what starts at Pos changes no verdict
	column    int  // of Pos, in UTF-16 code units
}

// LintRule is a kind of finding.
type LintRule struct{ ID, About, Help string }

// LintRules returns all kinds, sorted by ID.
func LintRules() []LintRule {
	return []LintRule{
		{"conflict", "libseccomp refuses a rule beside the others", "For calls that are part of socketcall and ipc, libseccomp takes no two rules with different actions: keep the name in one."},
		{"dead-name", "a name in a rule is already decided by another rule", "The first of two rules without conditions wins, and either wins over rules with conditions: keep the name in the rule that is meant."},
		{"dead-rule", "a rule has no effect", "Remove a rule that does what the default action does, or whose own filters always leave it out."},
		{"duplicate-name", "a rule names a call twice", "Once is enough."},
		{"enosys-horizon", "calls newer than the profile get ENOSYS", "Programs then fall back to older calls. Name a newer call, in a rule with any action, to decide on it."},
		{"idle-condition", "a condition, or a part of it, does nothing", "Leave it out, or compare with a value that the kernel can see in the argument."},
		{"idle-flag", "a flag is refused without SCMP_ACT_NOTIFY", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is about calls that an agent decides: remove it."},
		{"idle-listener", "an agent is named that is never asked", "No action is SCMP_ACT_NOTIFY: remove listenerPath."},
		{"impossible-condition", "a condition can never be met", "The kernel reads many arguments as 32 bits: compare with a value that is possible."},
		{"invalid", "the file is not a profile", "Nothing starts with it: fix what is reported."},
		{"key-case", "a key is not written as the format has it", "Docker reads keys in any case, other readers of the same file do not: write it as it is documented."},
		{"missing-sibling", "a call that does the same has another verdict", "Which of the calls a program makes depends on its C library, architecture and age: decide on all of them."},
		{"new-call", "the installed libseccomp does not know a call; minirun does", "Docker's runtime with the same libseccomp gives it the default action."},
		{"no-execve", "no command can be started", "The filter is installed before execve, which starts the command: allow it."},
		{"no-listener", "SCMP_ACT_NOTIFY without listenerPath", "No container starts with it: name the socket of the agent that decides."},
		{"open-profile", "the profile denies nothing", "Name what to deny, or run the container without a filter."},
		{"repeated-index", "conditions on the same argument are alternatives", "Docker makes each condition of such a rule a rule of its own. For a bit of an argument use SCMP_CMP_MASKED_EQ."},
		{"runc-notify", "runc refuses SCMP_ACT_NOTIFY there", "runc itself calls write under the filter, so it starts no container whose agent would decide on that. minirun starts it."},
		{"unknown-call", "unknown system call", "The name is misspelt, or newer than minirun."},
		{"unknown-key", "a key is not part of the format", "Docker ignores it, and so does minirun when it is plainly a comment."},
	}
}

// Lint finds mistakes and surprises in a profile, for containers on the target's machine. The
// findings are in the order of the file; file is its name in them. For a file that is not a
// profile, the findings say why, and the error is nil.
func Lint(file string, data []byte, t seccomp.Target) ([]Finding, error) {
	p, err := seccomp.Parse(file, data)
	l := &linter{profile: p, target: t}
	var problems seccomp.Problems
	switch {
	case errors.As(err, &problems):
		for _, one := range problems {
			l.find(one.Pos, Error, "invalid", one.Fix, "%s", one.Message).Cause = one.Cause
		}
	case err != nil:
		return nil, err
	default:
		for _, r := range p.Remarks {
			l.find(r.Pos, Warning, r.ID, r.Fix, "%s", r.Message).removable = r.ID == "unknown-key"
		}
		if err := l.valid(); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	for i := range l.findings {
		f := &l.findings[i]
		f.column = utf16Column(data, f.Pos)
	}
	return l.findings, nil
}

// valid adds the findings for a valid profile.
func (l *linter) valid() error {
	l.rules()
	l.notify()
	err := l.programs()
	var conflict *seccomp.Problem
	if errors.As(err, &conflict) {
		l.find(conflict.Pos, Error, "conflict", conflict.Fix, "%s", conflict.Message)
		return nil
	}
	return err
}

type linter struct {
	profile  *seccomp.Profile
	target   seccomp.Target
	findings []Finding
	unknown  []seccomp.Name // calls that libseccomp does not know
}

func (l *linter) find(pos seccomp.Position, severity Severity, id, fix, format string, args ...any) *Finding {
	l.findings = append(l.findings, Finding{Pos: pos, Where: pos.String(), Severity: severity, ID: id, Message: fmt.Sprintf(format, args...), Fix: fix})
	return &l.findings[len(l.findings)-1]
}

// rules checks each rule by itself and against the others.
func (l *linter) rules() {
	effective := false
	for i := range l.profile.Rules {
		r := &l.profile.Rules[i]
		if len(r.Names) == 0 {
			l.find(r.Pos, Warning, "dead-rule", "remove the rule", "the rule names no system call: it has no effect").removable = true
			continue
		}
		if why := contradiction(r); why != "" {
			l.find(r.Pos, Warning, "dead-rule", "remove the rule, or fix its conditions", "the rule never applies: %s", why).removable = true
			continue
		}
		if l.isDefault(r) {
			if !l.raisesHorizon(r) {
				l.find(r.Pos, Warning, "dead-rule", "remove the rule", "the rule does what the default action does: it has no effect").removable = true
			}
			continue
		}
		effective = true
		l.checkNames(i, r)
		l.checkConditions(r)
	}
	if !effective && l.profile.DefaultAction == specs.ActAllow {
		l.find(l.profile.DefaultActionPos, Warning, "open-profile", "name what to deny, or run without a filter", "the profile lets every call through")
	}
	if len(l.unknown) > 0 {
		var names []string
		for _, n := range l.unknown {
			names = append(names, n.Value)
		}
		l.find(l.unknown[0].Pos, Info, "new-call", "", "libseccomp %s does not know %s: Docker's runtime with it leaves them to the default action, minirun does what the rule says",
			compile.LibraryVersion(), strings.Join(names, ", "))
	}
}

// isDefault reports whether a rule does what the default action does. Compiling ignores such
// a rule.
func (l *linter) isDefault(r *seccomp.Rule) bool {
	return actions.Same(r.Action, r.ErrnoRet, l.profile.DefaultAction, l.profile.DefaultErrnoRet)
}

// contradiction returns why a rule's includes and excludes leave it out for every container,
// or "".
func contradiction(r *seccomp.Rule) string {
	excluded := func(names []seccomp.Name) func(seccomp.Name) bool {
		return func(n seccomp.Name) bool {
			return slices.ContainsFunc(names, func(o seccomp.Name) bool { return o.Value == n.Value })
		}
	}
	if i := slices.IndexFunc(r.Includes.Caps, excluded(r.Excludes.Caps)); i >= 0 {
		return "it wants " + r.Includes.Caps[i].Value + " and is left out with it"
	}
	wanted := r.Includes.Arches
	if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(n seccomp.Name) bool { return !excluded(r.Excludes.Arches)(n) }) {
		return "it wants " + wanted[0].Value + " and is left out there"
	}
	from, errFrom := seccomp.ParseKernel(r.Includes.MinKernel.Value)
	until, errUntil := seccomp.ParseKernel(r.Excludes.MinKernel.Value)
	if errFrom == nil && errUntil == nil && from.AtLeast(until) {
		return fmt.Sprintf("it wants Linux %s and is left out from %s on", from, until)
	}
	return ""
}

// raisesHorizon reports whether a rule that does what the default action does still has an
// effect: it names the newest call on some architecture. Without it older calls would get
// ENOSYS.
func (l *linter) raisesHorizon(r *seccomp.Rule) bool {
	if actions.Open(l.profile.DefaultAction) {
		return false
	}
	var others []string
	for i := range l.profile.Rules {
		if other := &l.profile.Rules[i]; unfiltered(other) && !l.isDefault(other) {
			others = append(others, ruleNames(other)...)
		}
	}
	return slices.ContainsFunc(syscalls.Arches(), func(a syscalls.Arch) bool {
		own, ok := compile.LargestNumber(a, ruleNames(r))
		largest, _ := compile.LargestNumber(a, others)
		return ok && own > largest
	})
}

func ruleNames(r *seccomp.Rule) []string {
	var names []string
	for _, n := range r.Names {
		names = append(names, n.Value)
	}
	return names
}

func (l *linter) checkNames(index int, r *seccomp.Rule) {
	var seen []string
	for _, n := range r.Names {
		if slices.Contains(seen, n.Value) {
			l.find(n.Pos, Warning, "duplicate-name", "remove it", "%s is named twice", n.Value).removable = true
			continue
		}
		seen = append(seen, n.Value)
		if !syscalls.Known(n.Value) {
			near := syscalls.Suggest(n.Value)
			fix := ""
			if near != "" {
				fix = "did you mean " + near + "?"
			}
			l.find(n.Pos, Warning, "unknown-call", fix, "unknown system call %s: the name has no effect", n.Value)
			continue
		}
		if !compile.Knows(n.Value) {
			l.unknown = append(l.unknown, n)
		}
		l.checkShadowed(index, r, n)
	}
}

// checkShadowed looks for a rule that decides before this one: an earlier one if neither has
// conditions, or any without conditions if this one has some. The other rule must apply
// whenever this one does.
func (l *linter) checkShadowed(index int, r *seccomp.Rule, n seccomp.Name) {
	for j := range l.profile.Rules {
		other := &l.profile.Rules[j]
		if j == index || len(other.Args) > 0 || l.isDefault(other) || !other.HasName(n.Value) || !implied(r, other) {
			continue
		}
		if len(r.Args) == 0 && j > index {
			continue
		}
		if len(r.Args) == 0 && other.Action == r.Action && !unfiltered(r) && unfiltered(other) {
			// only the author knows which of the two to keep
			l.find(n.Pos, Warning, "dead-name", "remove one of the two", "%s is decided for everyone by the rule at %s: the condition of this rule gates nothing", n.Value, lineColumn(other.Pos))
		} else {
			l.find(n.Pos, Warning, "dead-name", "remove it here", "%s is decided by the rule at %s", n.Value, lineColumn(other.Pos)).removable = true
		}
		return
	}
}

func lineColumn(p seccomp.Position) string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }

// unfiltered reports whether a rule applies to every target.
func unfiltered(r *seccomp.Rule) bool {
	empty := func(f *seccomp.Filter) bool { return len(f.Caps)+len(f.Arches) == 0 && f.MinKernel.Value == "" }
	return empty(&r.Includes) && empty(&r.Excludes)
}

// implied reports whether other certainly applies whenever r does: it has no filters, or the
// same ones.
func implied(r, other *seccomp.Rule) bool {
	values := func(names []seccomp.Name) string {
		var all []string
		for _, n := range names {
			all = append(all, n.Value)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	same := func(x, y *seccomp.Filter) bool {
		return values(x.Caps) == values(y.Caps) && values(x.Arches) == values(y.Arches) && x.MinKernel.Value == y.MinKernel.Value
	}
	return unfiltered(other) || same(&r.Includes, &other.Includes) && same(&r.Excludes, &other.Excludes)
}

func (l *linter) checkConditions(r *seccomp.Rule) {
	var seen [6]bool
	for _, a := range r.Args {
		if seen[a.Index] {
			l.find(a.Pos, Warning, "repeated-index", "write a rule for each, or use SCMP_CMP_MASKED_EQ",
				"argument %d has two conditions: each of the rule's conditions then lets the call match by itself (or, not and)", a.Index)
		}
		seen[a.Index] = true
		l.checkCondition(r, a)
	}
}

// checkCondition checks one condition, for each call of the rule.
func (l *linter) checkCondition(r *seccomp.Rule, a seccomp.Arg) {
	if a.Op == specs.OpMaskedEqual && a.ValueTwo&^a.Value != 0 {
		l.find(a.Pos, Warning, "idle-condition", "value is the mask, valueTwo the bits that must be set in it", "the bits %#x are outside the mask %#x: libseccomp ignores them", a.ValueTwo&^a.Value, a.Value)
	}
	for _, n := range r.Names {
		kind, limit := "64 bits wide", uint64(math.MaxUint64)
		if syscalls.Int32Args(n.Value)&(1<<a.Index) != 0 {
			kind, limit = "an int", math.MaxUint32
		}
		never, always := reach(a, limit)
		about := fmt.Sprintf("argument %d of %s is %s", a.Index, n.Value, kind)
		switch {
		case never:
			l.find(a.Pos, Error, "impossible-condition", "compare with a value that is possible", "%s: %s %#x is never met", about, sign(a), a.Value)
			return
		case always:
			l.find(a.Pos, Warning, "idle-condition", "leave the condition out, or compare with a value that is possible", "%s: %s %#x is always met", about, sign(a), a.Value)
			return
		}
	}
}

func sign(a seccomp.Arg) string {
	if a.Op == specs.OpMaskedEqual {
		return fmt.Sprintf("== %#x under the mask", a.ValueTwo)
	}
	return operatorSign(a.Op)
}

// reach reports whether no argument up to limit meets the condition, and whether every one
// does.
func reach(a seccomp.Arg, limit uint64) (never, always bool) {
	switch a.Op {
	case specs.OpEqualTo:
		return a.Value > limit, false
	case specs.OpNotEqual:
		return false, a.Value > limit
	case specs.OpGreaterThan:
		return a.Value >= limit, false
	case specs.OpGreaterEqual:
		return a.Value > limit, a.Value == 0
	case specs.OpLessThan:
		return a.Value == 0, a.Value > limit
	case specs.OpLessEqual:
		return false, a.Value >= limit
	case specs.OpMaskedEqual:
		wanted := a.ValueTwo & a.Value
		return wanted > limit, wanted == 0 && a.Value&limit == 0
	}
	return false, false
}
