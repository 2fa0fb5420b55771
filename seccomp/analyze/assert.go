package analyze

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/internal/spelling"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/keyword"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Assertion is a line of a test file: what a profile should do with a call.
//
//	allow chown with CAP_AUDIT_CONTROL
//	deny chown
//	deny EPERM mount without CAP_SYS_ADMIN
//	deny ENOSYS clone3
//	deny ptrace,@mount
//	allow socket(AF_INET) on arm64      # a comment
//
// The verbs are allow, deny (any errno, or the one named), kill, log, notify,
// trace and trap. Calls and @groups are separated by commas. Omitted arguments
// match any value. with and without, lists separated by commas, add capabilities to
// those of the target and remove them; ALL is all of them.
type Assertion struct {
	Pos     seccomp.Position
	Verb    string
	Errno   string // of deny; "" is any
	Calls   []AssertedCall
	With    []string // CAP_ names
	Without []string
	Arch    syscalls.Arch // 0 is the machine's
}

// AssertedCall is one call of an assertion. A call of a group need not exist on the
// architecture.
type AssertedCall struct {
	CallPattern
	Grouped bool
}

var verbs = []string{"allow", "deny", "kill", "log", "notify", "trace", "trap"}

// ParseAssertions reads a test file. Lines that name no architecture are about arch.
// The error is [seccomp.Problems], all that it finds.
func ParseAssertions(file string, data []byte, arch syscalls.Arch) ([]Assertion, error) {
	var all []Assertion
	var problems seccomp.Problems
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		text, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "#")
		if strings.TrimSpace(text) == "" {
			continue
		}
		r := &assertionReader{file: file, line: n, text: text, arch: arch}
		a, problem := r.read()
		if problem != nil {
			problems = append(problems, problem)
			continue
		}
		all = append(all, a)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return all, nil
}

type assertionReader struct {
	file string
	line int
	text string
	at   int // offset of the rest
	arch syscalls.Arch
}

func (r *assertionReader) pos(at int) seccomp.Position {
	return seccomp.Position{File: r.file, Line: r.line, Column: at + 1}
}

func (r *assertionReader) problem(at int, fix, format string, args ...any) *seccomp.Problem {
	return &seccomp.Problem{Pos: r.pos(at), Message: fmt.Sprintf(format, args...), Fix: fix}
}

// word takes the next word; the brackets of a call belong to its word.
func (r *assertionReader) word() (string, int) {
	for r.at < len(r.text) && (r.text[r.at] == ' ' || r.text[r.at] == '\t') {
		r.at++
	}
	begin, depth := r.at, 0
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case (c == ' ' || c == '\t') && depth <= 0:
			return r.text[begin:r.at], begin
		}
	}
	return strings.TrimRight(r.text[begin:], " \t"), begin
}

func (r *assertionReader) read() (Assertion, *seccomp.Problem) {
	verb, at := r.word()
	a := Assertion{Pos: r.pos(at), Verb: verb}
	if !slices.Contains(verbs, verb) {
		return a, r.problem(at, keyword.Suggest(verb, verbs), "unknown verb %q", verb)
	}
	call, at := r.word()
	if verb == "deny" && strings.HasPrefix(call, "E") {
		if _, ok := keyword.Errno(call); !ok {
			return a, r.problem(at, keyword.Suggest(call, keyword.Errnos()), "unknown errno %q", call)
		}
		a.Errno = call
		call, at = r.word()
	}
	if call == "" {
		return a, r.problem(at, "write, for example, allow chown", "a call is missing")
	}
	ahead, clauses := *r, a
	if ahead.readClauses(&clauses) == nil && clauses.Arch != 0 {
		r.arch = clauses.Arch // whose constants the call is written with
	}
	var problem *seccomp.Problem
	if a.Calls, problem = r.calls(call, at); problem != nil {
		return a, problem
	}
	return a, r.readClauses(&a)
}

// calls reads calls and groups with commas between.
func (r *assertionReader) calls(text string, at int) ([]AssertedCall, *seccomp.Problem) {
	var all []AssertedCall
	for len(text) > 0 || len(all) == 0 {
		one, rest := cutCall(text)
		if strings.HasPrefix(one, "@") {
			group, ok := syscalls.Group(one)
			if !ok {
				return nil, r.problem(at, groupHint(one), "%q: no such group of system calls", one)
			}
			for _, name := range group {
				all = append(all, AssertedCall{CallPattern{Name: name, Arch: r.arch}, true})
			}
		} else {
			c, err := ParseCall(one, r.arch)
			if err != nil {
				return nil, r.callProblem(err, at)
			}
			all = append(all, AssertedCall{c, false})
		}
		at += len(text) - len(rest)
		text = rest
	}
	return all, nil
}

func (r *assertionReader) callProblem(err error, at int) *seccomp.Problem {
	var wrong *CallError
	errors.As(err, &wrong)
	problem := r.problem(at+wrong.Offset, wrong.Fix, "%s", wrong.Error())
	if _, ok := keyword.Errno(wrong.Text); ok {
		problem.Fix = "only deny takes an errno"
	}
	return problem
}

// cutCall cuts after the first comma that is not between brackets. One with nothing
// after it stays, so that it is reported.
func cutCall(text string) (one, rest string) {
	depth := 0
	for i, c := range text {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth <= 0 && i+1 < len(text):
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

func (r *assertionReader) readClauses(a *Assertion) *seccomp.Problem {
	clauses := []string{"with", "without", "on"}
	for {
		clause, at := r.word()
		if clause == "" {
			return nil
		}
		if !slices.Contains(clauses, clause) {
			hint := "there are with, without and on"
			if near := spelling.Nearest(clause, clauses); near != "" {
				hint = "did you mean " + near + "?"
			}
			return r.problem(at, hint, "unknown word %q", clause)
		}
		value, at := r.word()
		if value == "" {
			return r.problem(at, "", "nothing follows %s", clause)
		}
		if clause == "on" {
			arch, ok := syscalls.ParseArch(value)
			if !ok {
				return r.problem(at, keyword.Suggest(value, keyword.Arches()), "unknown architecture %q", value)
			}
			a.Arch = arch
			continue
		}
		caps, problem := r.capabilities(value, at)
		if problem != nil {
			return problem
		}
		if clause == "with" {
			a.With = append(a.With, caps...)
		} else {
			a.Without = append(a.Without, caps...)
		}
	}
}

func (r *assertionReader) capabilities(text string, at int) ([]string, *seccomp.Problem) {
	var caps []string
	for _, name := range strings.Split(text, ",") {
		if strings.EqualFold(name, "ALL") {
			caps = append(caps, capname.All()...)
			at += len(name) + 1
			continue
		}
		full := capname.Full(name)
		if !slices.Contains(capname.All(), full) {
			return nil, r.problem(at, keyword.Suggest(full, capname.All()), "unknown capability %q", name)
		}
		caps = append(caps, full)
		at += len(name) + 1
	}
	return caps, nil
}

// Failure is an assertion that does not hold, and the first call that shows it.
type Failure struct {
	Assertion Assertion `json:"-"`
	Where     string    `json:"where"`
	Call      string    `json:"call"` // with arguments, where they matter
	Want      string    `json:"want"`
	Got       string    `json:"got"`
	Because   string    `json:"because,omitempty"`
	Rule      string    `json:"rule,omitempty"` // FILE:LINE:COLUMN of the rule that decides
}

func (f Failure) String() string {
	text := fmt.Sprintf("%s: %s: want %s, got %s", f.Where, f.Call, f.Want, f.Got)
	switch {
	case f.Rule != "":
		text += " (" + f.Rule + ")"
	case f.Because != "":
		text += " (" + f.Because + ")"
	}
	return text
}

// Check runs assertions against a profile. Each is for the target base, with the
// capabilities and the architecture that the assertion changes. A result is
// proved for all values of omitted arguments; each failure has a call that shows it. The error
// is a [*bpf.IntricateError] when a program is too intricate for the proof.
func Check(p *seccomp.Profile, assertions []Assertion, base seccomp.Target) ([]Failure, error) {
	explainers := map[string]*Explainer{}
	var failures []Failure
	for _, a := range assertions {
		t := base
		if a.Arch != 0 {
			t.Arch = a.Arch
		}
		t.Capabilities = slices.DeleteFunc(slices.Clone(t.Capabilities), func(n string) bool { return slices.Contains(a.Without, n) })
		t.Capabilities = append(t.Capabilities, a.With...)
		slices.Sort(t.Capabilities)
		key := t.Arch.OCI() + " " + strings.Join(t.Capabilities, " ")
		if explainers[key] == nil {
			policy, err := p.Resolve(t)
			if err != nil {
				return nil, err
			}
			if explainers[key], err = NewExplainer(policy); err != nil {
				return nil, err
			}
		}
		f, err := a.check(explainers[key])
		if err != nil {
			return nil, err
		}
		if f != nil {
			failures = append(failures, *f)
		}
	}
	return failures, nil
}

// check returns the first call with another verdict, or nil.
func (a Assertion) check(e *Explainer) (*Failure, error) {
	arch := e.Policy.Target.Arch
	checked := 0
	for _, c := range a.Calls {
		if _, ok := c.Call(arch); !ok {
			if c.Grouped {
				continue
			}
			return a.failure(c.CallPattern, arch.String()+" has no such call"), nil
		}
		checked++
		if f, err := a.checkCall(e, c.CallPattern); f != nil || err != nil {
			return f, err
		}
	}
	if checked == 0 {
		return a.failure(a.Calls[0].CallPattern, arch.String()+" has no call of the group"), nil
	}
	return nil, nil
}

func (a Assertion) failure(c CallPattern, got string) *Failure {
	want := a.Verb
	if a.Errno != "" {
		want += " " + a.Errno
	}
	return &Failure{Assertion: a, Where: a.Pos.String(), Call: c.String(), Want: want, Got: got}
}

// checkCall finds the least call with another verdict, for all values of omitted
// arguments. Finding none is a proof. An "allow" is about the bits of an argument that
// the kernel reads: more are denied where rules compare them, and programs do not pass
// them.
func (a Assertion) checkCall(e *Explainer, c CallPattern) (f *Failure, err error) {
	err = e.ask(e.Policy.Target.Arch, c, a.Verb == "allow", func(scope *bpf.Scope, outcomes []bpf.Outcome) error {
		wrong := scope.None()
		arguments := c.Given
		for _, o := range outcomes {
			if !a.holds(o.Verdict) {
				wrong = wrong.Or(o.Calls)
				arguments = max(arguments, o.Calls.Arguments())
			}
		}
		if wrong.Empty() {
			return nil
		}
		least := wrong.Least()
		v, err := e.emu.Run(least)
		if err != nil || a.holds(v) {
			return errors.Join(err, fmt.Errorf("%+v: the proof says that it is not %s, the emulator that it is: this is a bug", least, a.Verb))
		}
		witness := CallPattern{Name: c.Name, Arch: e.Policy.Target.Arch, Args: least.Args, Given: arguments}
		f = a.failure(witness, v.String())
		f.Because, f.Rule, _ = e.because(witness, v)
		return nil
	})
	return f, err
}

func (a Assertion) holds(v bpf.Verdict) bool {
	switch a.Verb {
	case "allow":
		return v.Action() == unix.SECCOMP_RET_ALLOW
	case "deny":
		number, _ := keyword.Errno(a.Errno)
		return v.Action() == unix.SECCOMP_RET_ERRNO && (a.Errno == "" || v.Data() == uint32(number))
	case "kill":
		return v.Action() == unix.SECCOMP_RET_KILL_PROCESS || v.Action() == unix.SECCOMP_RET_KILL_THREAD
	case "log":
		return v.Action() == unix.SECCOMP_RET_LOG
	case "notify":
		return v.Action() == unix.SECCOMP_RET_USER_NOTIF
	case "trace":
		return v.Action() == unix.SECCOMP_RET_TRACE
	case "trap":
		return v.Action() == unix.SECCOMP_RET_TRAP
	}
	return false
}
