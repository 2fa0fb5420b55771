package seccomp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/spelling"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Assertion is a line of a test file: what a profile is to do with a call.
//
//	allow chown with CAP_AUDIT_CONTROL
//	deny chown
//	deny EPERM mount without CAP_SYS_ADMIN
//	deny ENOSYS clone3
//	allow socket(AF_INET) on arm64      # a comment
//
// The verbs are allow, deny (any errno, or the one named), kill, log, notify,
// trace and trap. Without arguments the line speaks of all arguments. The
// container has Docker's default capabilities, and what with and without,
// lists with commas between, add and take away.
type Assertion struct {
	Pos     Position
	Verb    string
	Errno   string // of deny; "" is any
	Call    CallPattern
	With    []string // CAP_ names
	Without []string
	Arch    syscalls.Arch // 0 is the machine's
}

var verbs = []string{"allow", "deny", "kill", "log", "notify", "trace", "trap"}

// ParseAssertions reads a test file. The error is [Problems], all of them.
func ParseAssertions(file string, data []byte) ([]Assertion, error) {
	var all []Assertion
	var problems Problems
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		text, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "#")
		if strings.TrimSpace(text) == "" {
			continue
		}
		r := &assertionReader{file: file, line: n, text: text}
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
	at   int // of what is to be read
}

func (r *assertionReader) pos(at int) Position { return Position{r.file, r.line, at + 1} }

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

func (r *assertionReader) read() (Assertion, *Problem) {
	verb, at := r.word()
	a := Assertion{Pos: r.pos(at), Verb: verb}
	if !slices.Contains(verbs, verb) {
		return a, &Problem{r.pos(at), fmt.Sprintf("unknown verb %q", verb), didYouMean(verb, verbs)}
	}
	call, at := r.word()
	if verb == "deny" && strings.HasPrefix(call, "E") {
		if _, ok := errnoNumber(call); !ok {
			return a, &Problem{r.pos(at), fmt.Sprintf("unknown errno %q", call), didYouMean(call, errnoNames())}
		}
		a.Errno = call
		call, at = r.word()
	}
	if call == "" {
		return a, &Problem{r.pos(at), "a call is missing", "write, for example, allow chown"}
	}
	var err error
	if a.Call, err = ParseCall(call); err != nil {
		var wrong *CallError
		errors.As(err, &wrong)
		return a, &Problem{r.pos(at + wrong.Offset), wrong.Error(), wrong.Fix}
	}
	return a, r.readClauses(&a)
}

func (r *assertionReader) readClauses(a *Assertion) *Problem {
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
			return &Problem{r.pos(at), fmt.Sprintf("unknown word %q", clause), hint}
		}
		value, at := r.word()
		if clause == "on" {
			arch, ok := syscalls.ParseArch(value)
			if !ok {
				return &Problem{r.pos(at), fmt.Sprintf("unknown architecture %q", value), didYouMean(value, hostArches())}
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

func (r *assertionReader) capabilities(text string, at int) ([]string, *Problem) {
	var caps []string
	for _, name := range strings.Split(text, ",") {
		full := strings.ToUpper(name)
		if !strings.HasPrefix(full, "CAP_") {
			full = "CAP_" + full
		}
		if !slices.Contains(capabilities(), full) {
			return nil, &Problem{r.pos(at), fmt.Sprintf("unknown capability %q", name), didYouMean(full, capabilities())}
		}
		caps = append(caps, full)
	}
	return caps, nil
}

// Failure is an assertion that does not hold.
type Failure struct {
	Assertion Assertion `json:"-"`
	Where     string    `json:"where"`
	Want      string    `json:"want"`
	Got       string    `json:"got"`
	Rule      string    `json:"rule,omitempty"`
}

func (f Failure) String() string {
	text := f.Where + ": want " + f.Want + ", got " + f.Got
	if f.Rule != "" {
		text += " (" + f.Rule + ")"
	}
	return text
}

// Check runs assertions against a profile on a kernel, for containers whose
// capabilities are base but for what the assertions say.
func (p *Profile) Check(assertions []Assertion, base Target) ([]Failure, error) {
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
			if explainers[key], err = policy.Explainer(); err != nil {
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

func (a Assertion) check(e *Explainer) (*Failure, error) {
	want := a.Verb
	if a.Errno != "" {
		want += " " + a.Errno
	}
	if _, ok := a.Call.Call(e.Policy.Target.Arch); !ok {
		return &Failure{a, a.Pos.String(), want, e.Policy.Target.Arch.String() + " has no such call", ""}, nil
	}
	calls := []CallPattern{a.Call}
	if a.Call.Given == 0 {
		for _, args := range samples(e.Policy.conditions(a.Call.Name)) {
			c := a.Call
			c.Args = args
			calls = append(calls, c)
		}
	}
	for i, c := range calls {
		v, err := e.Run(c)
		if err != nil {
			return nil, err
		}
		if a.holds(v) {
			continue
		}
		got := v.String()
		if i > 0 {
			c.Given = 6
			got += " for " + c.String()
		}
		_, rule, _ := e.because(c, v)
		return &Failure{a, a.Pos.String(), want, got, rule}, nil
	}
	return nil, nil
}

func (a Assertion) holds(v Verdict) bool {
	switch a.Verb {
	case "allow":
		return v.Action() == unix.SECCOMP_RET_ALLOW
	case "deny":
		number, _ := errnoNumber(a.Errno)
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
