package seccomp

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"

	"github.com/minirun/minirun/seccomp/internal/actions"
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

	drop   bool // --fix: what stands at Pos goes
	column int  // of Pos, in UTF-16 code units
}

// LintRule is a kind of finding.
type LintRule struct{ ID, About, Help string }

// LintRules are all kinds, sorted.
func LintRules() []LintRule {
	return []LintRule{
		{"conflict", "libseccomp refuses a rule beside the others", "For calls that socketcall and ipc stand for, two rules with different actions cannot both be there: keep the name in one."},
		{"dead-name", "a name in a rule is already decided by another rule", "Of two rules without conditions the first wins, and either wins over rules with conditions: keep the name in the rule that is meant."},
		{"dead-rule", "a rule has no effect", "A rule that does what the default action does, or whose own filters always leave it out, can go."},
		{"duplicate-name", "a rule names a call twice", "Once is enough."},
		{"enosys-horizon", "calls newer than the profile get ENOSYS", "Programs then fall back to older calls. Name a newer call, in a rule with any action, to decide on it."},
		{"idle-condition", "a condition, or a part of it, does nothing", "Leave it out, or compare with what the kernel can see in the argument."},
		{"impossible-condition", "a condition can never be met", "The kernel reads many arguments as 32 bits: compare with what can be there."},
		{"invalid", "the file is no profile", "Nothing starts with it: mend what is said."},
		{"key-case", "a key is not written as the format has it", "Docker reads keys in any case, other readers of the same file do not: write it as it is documented."},
		{"missing-sibling", "a call that does the same has another verdict", "Which of the calls a program makes depends on its C library, architecture and age: decide on all of them."},
		{"new-call", "the installed libseccomp does not know a call; minirun does", "Docker's runtime with the same libseccomp gives it the default action."},
		{"no-execve", "no command can be started", "The filter is there before execve, which becomes the command: allow it."},
		{"open-profile", "the profile denies nothing", "Name what to deny, or say that no filter is wanted."},
		{"repeated-index", "conditions on the same argument are alternatives", "Docker makes each condition of such a rule a rule of its own. For a bit of an argument use SCMP_CMP_MASKED_EQ."},
		{"unknown-call", "no Linux has such a call", "The name is misspelt, or newer than minirun."},
		{"unknown-key", "a key is no part of the format", "Docker passes over it, and so does minirun when it is plainly a comment."},
	}
}

// Lint finds what is wrong with a profile, and what may surprise, for
// containers on the target's machine. A file that is no profile has findings too.
func Lint(file string, data []byte, t Target) ([]Finding, error) {
	p, err := Parse(file, data)
	l := &linter{profile: p, target: t}
	var problems Problems
	switch {
	case errors.As(err, &problems):
		for _, one := range problems {
			l.find(one.Pos, Error, "invalid", one.Fix, "%s", one.Message)
		}
	case err != nil:
		return nil, err
	default:
		for _, r := range p.Remarks {
			l.find(r.Pos, Warning, r.ID, r.Fix, "%s", r.Message).drop = r.ID == "unknown-key"
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

// valid looks at what is a profile.
func (l *linter) valid() error {
	l.rules()
	err := l.programs()
	var conflict *Problem
	if errors.As(err, &conflict) {
		l.find(conflict.Pos, Error, "conflict", conflict.Fix, "%s", conflict.Message)
		return nil
	}
	return err
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
		if len(r.Names) == 0 {
			l.find(r.Pos, Warning, "dead-rule", "remove the rule", "the rule names no system call: it has no effect").drop = true
			continue
		}
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
	return actions.Same(r.Action, r.ErrnoRet, l.profile.DefaultAction, l.profile.DefaultErrnoRet)
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
	if actions.Passes(l.profile.DefaultAction) {
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
		l.condition(r, a)
	}
}

// condition looks at what one condition asks of the calls that the rule is about.
func (l *linter) condition(r *Rule, a Arg) {
	if a.Op == specs.OpMaskedEqual && a.ValueTwo&^a.Value != 0 {
		l.find(a.Pos, Warning, "idle-condition", "value is the mask, valueTwo what is left", "the bits %#x are outside the mask %#x: libseccomp passes over them", a.ValueTwo&^a.Value, a.Value)
	}
	for _, n := range r.Names {
		kind, most := "64 bits wide", uint64(math.MaxUint64)
		if syscalls.Int32Args(n.Value)&(1<<a.Index) != 0 {
			kind, most = "an int", math.MaxUint32
		}
		never, always := a.reach(most)
		about := fmt.Sprintf("argument %d of %s is %s", a.Index, n.Value, kind)
		switch {
		case never:
			l.find(a.Pos, Error, "impossible-condition", "compare with what can be there", "%s: %s %#x is never met", about, a.sign(), a.Value)
			return
		case always:
			l.find(a.Pos, Warning, "idle-condition", "leave the condition out, or compare with what can be there", "%s: %s %#x is always met", about, a.sign(), a.Value)
			return
		}
	}
}

func (a Arg) sign() string {
	if a.Op == specs.OpMaskedEqual {
		return fmt.Sprintf("== %#x under the mask", a.ValueTwo)
	}
	return operatorSigns[a.Op]
}

// reach tells whether no argument up to most meets the condition, or each.
func (a Arg) reach(most uint64) (never, always bool) {
	switch a.Op {
	case specs.OpEqualTo:
		return a.Value > most, false
	case specs.OpNotEqual:
		return false, a.Value > most
	case specs.OpGreaterThan:
		return a.Value >= most, false
	case specs.OpGreaterEqual:
		return a.Value > most, a.Value == 0
	case specs.OpLessThan:
		return a.Value == 0, a.Value > most
	case specs.OpLessEqual:
		return false, a.Value >= most
	case specs.OpMaskedEqual:
		wanted := a.ValueTwo & a.Value
		return wanted > most, wanted == 0 && a.Value&most == 0
	}
	return false, false
}
