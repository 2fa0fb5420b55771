package seccomp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// Severity says how much a finding matters.
type Severity string

// The severities, worst first. Info is what a careful author may well want.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Finding is something about a profile that may surprise its author.
type Finding struct {
	Pos      Position `json:"-"`
	Where    string   `json:"where"`
	Severity Severity `json:"severity"`
	ID       string   `json:"id"` // of LintRules
	Message  string   `json:"message"`
	Fix      string   `json:"fix,omitempty"`

	drop bool // --fix: what stands at Pos goes
}

// LintRule is a kind of finding.
type LintRule struct{ ID, About string }

// LintRules are all kinds, sorted.
func LintRules() []LintRule {
	return []LintRule{
		{"conflict", "libseccomp refuses a rule beside the others"},
		{"dead-name", "a name in a rule is already decided by another rule"},
		{"dead-rule", "a rule does what the default action does anyway"},
		{"duplicate-name", "a rule names a call twice"},
		{"enosys-horizon", "calls newer than the profile get ENOSYS"},
		{"impossible-condition", "a condition can never be met"},
		{"invalid", "the file is no profile"},
		{"launch-set", "a start itself needs a call that is denied"},
		{"missing-sibling", "a call that does the same has another verdict"},
		{"new-call", "the installed libseccomp does not know a call; minirun does"},
		{"open-profile", "the profile denies nothing"},
		{"repeated-index", "conditions on the same argument are alternatives"},
		{"unknown-call", "no Linux has such a call"},
	}
}

// Lint finds what is wrong with a profile, and what may surprise, for
// containers on the target's machine. A file that is no profile has findings too.
func Lint(file string, data []byte, t Target) ([]Finding, error) {
	p, err := Parse(file, data)
	var problems Problems
	if errors.As(err, &problems) {
		var all []Finding
		for _, one := range problems {
			all = append(all, Finding{Pos: one.Pos, Where: one.Pos.String(), Severity: Error, ID: "invalid", Message: one.Message, Fix: one.Fix})
		}
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	l := &linter{profile: p, target: t}
	l.rules()
	var conflict *Problem
	if err := l.programs(); errors.As(err, &conflict) {
		l.find(conflict.Pos, Error, "conflict", conflict.Fix, "%s", conflict.Message)
	} else if err != nil {
		return nil, err
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	return l.findings, nil
}

type linter struct {
	profile  *Profile
	target   Target
	findings []Finding
	unknown  []Name // calls that libseccomp does not know
}

func (l *linter) find(pos Position, severity Severity, id, fix, format string, args ...any) *Finding {
	l.findings = append(l.findings, Finding{Pos: pos, Where: pos.String(), Severity: severity, ID: id, Message: fmt.Sprintf(format, args...), Fix: fix})
	return &l.findings[len(l.findings)-1]
}

// rules looks at each rule by itself and beside the others.
func (l *linter) rules() {
	effective := false
	for i := range l.profile.Rules {
		r := &l.profile.Rules[i]
		if why := r.contradiction(); why != "" {
			l.find(r.Pos, Warning, "dead-rule", "remove the rule, or mend its conditions", "the rule is never there: %s", why).drop = true
			continue
		}
		if l.isDefault(r) {
			if !l.horizons(r) {
				l.find(r.Pos, Warning, "dead-rule", "remove the rule", "the rule does what the default action does: it has no effect").drop = true
			}
			continue
		}
		effective = true
		l.names(i, r)
		l.conditions(r)
	}
	if !effective && l.profile.DefaultAction == specs.ActAllow {
		l.find(l.profile.DefaultActionPos, Warning, "open-profile", "name what to deny, or say --seccomp unconfined", "the profile lets every call through")
	}
	if len(l.unknown) > 0 {
		var names []string
		for _, n := range l.unknown {
			names = append(names, n.Value)
		}
		l.find(l.unknown[0].Pos, Info, "new-call", "", "libseccomp %s does not know %s: Docker's runtime with it leaves them to the default action, minirun does what the rule says",
			LibraryVersion(), strings.Join(names, ", "))
	}
}

// isDefault reports whether a rule does what the default action does: then it
// decides nothing, and is passed over when the profile is compiled.
func (l *linter) isDefault(r *Rule) bool {
	return sameAction(r.Action, r.ErrnoRet, l.profile.DefaultAction, l.profile.DefaultErrnoRet)
}

// contradiction says what in a rule's own filters keeps it out for every
// container, or "".
func (r *Rule) contradiction() string {
	excluded := func(names []Name) func(Name) bool {
		return func(n Name) bool {
			return slices.ContainsFunc(names, func(o Name) bool { return o.Value == n.Value })
		}
	}
	if i := slices.IndexFunc(r.Includes.Caps, excluded(r.Excludes.Caps)); i >= 0 {
		return "it wants " + r.Includes.Caps[i].Value + " and is left out with it"
	}
	wanted := r.Includes.Arches
	if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(n Name) bool { return !excluded(r.Excludes.Arches)(n) }) {
		return "it wants " + wanted[0].Value + " and is left out there"
	}
	from, errFrom := ParseKernel(r.Includes.MinKernel.Value)
	until, errUntil := ParseKernel(r.Excludes.MinKernel.Value)
	if errFrom == nil && errUntil == nil && from.AtLeast(until) {
		return fmt.Sprintf("it wants Linux %s and is left out from %s on", from, until)
	}
	return ""
}

// horizons reports whether a rule, though it decides nothing, names a call
// that is newer than what the others name on some architecture: without the
// rule those below it would get ENOSYS.
func (l *linter) horizons(r *Rule) bool {
	if lets(l.profile.DefaultAction) {
		return false
	}
	for _, a := range syscalls.Arches() {
		arch, err := scmpArch(a.OCI())
		if err != nil {
			continue // libseccomp compiles nothing for it
		}
		var others libseccomp.ScmpSyscall
		for i := range l.profile.Rules {
			if other := &l.profile.Rules[i]; plain(other) && !l.isDefault(other) {
				others = max(others, other.largest(arch))
			}
		}
		if r.largest(arch) > others {
			return true
		}
	}
	return false
}

func (r *Rule) largest(arch libseccomp.ScmpArch) (largest libseccomp.ScmpSyscall) {
	for _, n := range r.Names {
		if nr, err := libseccomp.GetSyscallFromNameByArch(n.Value, arch); err == nil {
			largest = max(largest, nr)
		}
	}
	return largest
}

func (l *linter) names(index int, r *Rule) {
	var seen []string
	for _, n := range r.Names {
		if slices.Contains(seen, n.Value) {
			l.find(n.Pos, Warning, "duplicate-name", "remove it", "%s is there twice", n.Value).drop = true
			continue
		}
		seen = append(seen, n.Value)
		if !syscalls.Known(n.Value) {
			near := syscalls.Suggest(n.Value)
			fix := ""
			if near != "" {
				fix = "did you mean " + near + "?"
			}
			l.find(n.Pos, Warning, "unknown-call", fix, "no Linux has a system call %s: the name has no effect", n.Value)
			continue
		}
		if _, err := libseccomp.GetSyscallFromName(n.Value); err != nil {
			l.unknown = append(l.unknown, n)
		}
		l.decided(index, r, n)
	}
}

// decided looks for another rule that decides before this one: of two without
// conditions the first, and one without conditions before any with. It counts
// only when it is there whenever this one is.
func (l *linter) decided(index int, r *Rule, n Name) {
	for j := range l.profile.Rules {
		other := &l.profile.Rules[j]
		if j == index || len(other.Args) > 0 || l.isDefault(other) || !other.names(n.Value) || !weaker(other, r) {
			continue
		}
		if len(r.Args) == 0 && j > index {
			continue
		}
		if len(r.Args) == 0 && other.Action == r.Action && !plain(r) && plain(other) {
			// which of the two is meant its author knows
			l.find(n.Pos, Warning, "dead-name", "remove one of the two", "%s is decided for everyone by the rule at %s: the condition of this rule gates nothing", n.Value, short(other.Pos))
		} else {
			l.find(n.Pos, Warning, "dead-name", "remove it here", "%s is decided by the rule at %s", n.Value, short(other.Pos)).drop = true
		}
		return
	}
}

func short(p Position) string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }

// plain rules are there for every target.
func plain(r *Rule) bool {
	empty := func(f *Filter) bool { return len(f.Caps)+len(f.Arches) == 0 && f.MinKernel.Value == "" }
	return empty(&r.Includes) && empty(&r.Excludes)
}

// weaker reports whether a is there whenever b is, as far as is easily seen:
// it asks nothing, or just the same.
func weaker(a, b *Rule) bool {
	values := func(names []Name) string {
		var all []string
		for _, n := range names {
			all = append(all, n.Value)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	same := func(x, y *Filter) bool {
		return values(x.Caps) == values(y.Caps) && values(x.Arches) == values(y.Arches) && x.MinKernel.Value == y.MinKernel.Value
	}
	return plain(a) || same(&a.Includes, &b.Includes) && same(&a.Excludes, &b.Excludes)
}

func (l *linter) conditions(r *Rule) {
	var seen [6]bool
	for _, a := range r.Args {
		if seen[a.Index] {
			l.find(a.Pos, Warning, "repeated-index", "write a rule for each, or use SCMP_CMP_MASKED_EQ",
				"argument %d has two conditions: each of the rule's conditions then lets the call match by itself (or, not and)", a.Index)
		}
		seen[a.Index] = true
		if a.Op == specs.OpMaskedEqual && a.ValueTwo&^a.Value != 0 {
			l.find(a.Pos, Error, "impossible-condition", "value is the mask, valueTwo what is left", "the value %#x has bits outside the mask %#x: it never matches", a.ValueTwo, a.Value)
		}
		for _, n := range r.Names {
			if syscalls.Int32Args(n.Value)&(1<<a.Index) != 0 && a.Value > 1<<32-1 && a.Op != specs.OpNotEqual && a.Op != specs.OpLessThan && a.Op != specs.OpLessEqual {
				l.find(a.Pos, Error, "impossible-condition", "the kernel reads 32 bits", "argument %d of %s is an int, and is compared with %#x", a.Index, n.Value, a.Value)
				break
			}
		}
	}
}
