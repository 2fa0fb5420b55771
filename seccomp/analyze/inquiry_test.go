package analyze

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// inquiry is one profile for one target, with the programs for other bounding sets.
type inquiry struct {
	about  string
	e      *Explainer
	single []string                 // flags that change one capability
	others map[string]*bpf.Emulator // by flags; nil where libseccomp refuses
	edited map[string]bool
}

// wide reports whether a call has more bits in an omitted argument than the kernel reads.
func wide(o bpf.Call, c CallPattern) bool {
	for i := c.Given; i < len(o.Args); i++ {
		if syscalls.Int32Args(c.Name)&(1<<i) != 0 && o.Args[i]>>32 != 0 {
			return true
		}
	}
	return false
}

// with returns the program after some flags.
func (q *inquiry) with(t *testing.T, flags string) *bpf.Emulator {
	t.Helper()
	if other, ok := q.others[flags]; ok {
		return other
	}
	target := q.e.Policy.Target
	target.Capabilities = applied(target.Capabilities, flags)
	q.others[flags] = nil
	other, err := explainerFor(q.e.Policy.Profile, target)
	var refused *seccomp.Problem
	switch {
	case err == nil:
		q.others[flags] = other.emu
	case !errors.As(err, &refused):
		t.Fatalf("%s: %s: %v", q.about, flags, err)
	}
	return q.others[flags]
}

// applied returns the capabilities after flags for them.
func applied(caps []string, flags string) []string {
	caps = slices.Clone(caps)
	words := strings.Fields(flags)
	for i := 0; i < len(words); i += 2 {
		if words[i] == "--cap-add" {
			caps = append(caps, words[i+1])
		} else {
			caps = slices.DeleteFunc(caps, func(c string) bool { return c == words[i+1] })
		}
	}
	return caps
}

// check compares the explanation of a call with what programs do with samples of it.
func (q *inquiry) check(t *testing.T, c CallPattern, samples []bpf.Call) {
	t.Helper()
	x, err := q.e.Explain(c)
	if err != nil {
		t.Fatalf("%s: %v", q.about, err)
	}
	seen := verdicts(t, q.e.emu, samples)
	said := []string{x.Verdict}
	if x.Verdict == Depends {
		said = nil
		for _, one := range x.Cases {
			said = append(said, one.Verdict)
		}
	}
	slices.Sort(said)
	if said = slices.Compact(said); !slices.Equal(said, seen) {
		t.Errorf("%s %v: said to be %v, seen %v", q.about, c.Args, said, seen)
	}
	checkRules(t, q.about, q.e, x, c)
	var claimed []string
	for _, change := range x.Remedies {
		switch change.Kind {
		case RemedyCapability:
			claimed = append(claimed, how(change))
			q.checkRemedy(t, change, samples)
		case RemedyEdit:
			q.checkEdit(t, c.Name, how(change), samples)
		}
	}
	if opens(seen) {
		return
	}
	for _, flag := range q.single {
		if other := q.with(t, flag); other != nil && opens(verdicts(t, other, samples)) && !slices.Contains(claimed, flag) {
			t.Errorf("%s %v: is let through with %s, which is not said, but %v", q.about, c.Args, flag, claimed)
		}
	}
}

// checkRemedy checks that a capability lets the call through, with all arguments or some.
func (q *inquiry) checkRemedy(t *testing.T, change Remedy, samples []bpf.Call) {
	t.Helper()
	other := q.with(t, how(change))
	if other == nil {
		t.Fatalf("%s: nothing starts with %s", q.about, how(change))
	}
	got := verdicts(t, other, samples)
	some := slices.Contains(got, "ALLOW") || slices.Contains(got, "LOG")
	if !some || opens(got) != (change.When == "") {
		t.Errorf("%s: %s is said to open it (%s), and gives %v", q.about, how(change), change.When, got)
	}
}

func opens(verdicts []string) bool {
	return !slices.ContainsFunc(verdicts, func(v string) bool { return v != "ALLOW" && v != "LOG" })
}

func verdicts(t *testing.T, e *bpf.Emulator, samples []bpf.Call) []string {
	t.Helper()
	var all []string
	for _, c := range samples {
		if v := verdictFrom(t, e, c).String(); !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return all
}

// checkEdit checks that the proposed edit lets the call through, for a few calls to save time.
func (q *inquiry) checkEdit(t *testing.T, call, command string, samples []bpf.Call) {
	t.Helper()
	if want := "allow " + call; command != want {
		t.Errorf("%s: the edit is %q, want %q", q.about, command, want)
	}
	if !slices.Contains([]string{"mount", "clone", "ioctl", "quotactl"}, call) || q.edited[call] {
		return
	}
	q.edited[call] = true
	source, err := q.e.Policy.Profile.Edit([]seccomp.Edit{{Action: seccomp.Allow, Names: []string{call}}})
	if err != nil {
		t.Fatalf("%s: %v", q.about, err)
	}
	p, err := seccomp.Parse("p.json", source)
	if err != nil {
		t.Fatalf("%s: %v", q.about, err)
	}
	other, err := explainerFor(p, q.e.Policy.Target)
	if err != nil {
		t.Fatalf("%s: %v", q.about, err)
	}
	if got := verdicts(t, other.emu, samples); !opens(got) {
		t.Errorf("%s: %s gives %v", q.about, command, got)
	}
}

// meant returns the names that a rule for a call may have: its own, and for a multiplexer
// those of its calls.
func meant(c CallPattern) []string {
	var calls []string
	switch c.Name {
	case "socketcall":
		calls = seccomptest.SocketCalls[:]
	case "ipc":
		calls = seccomptest.IPCCalls[:]
	}
	if c.Given > 0 && c.Args[0] < uint64(len(calls)) {
		calls = calls[c.Args[0] : c.Args[0]+1]
	}
	return append([]string{c.Name}, calls...)
}

// checkRules checks that each position is that of the default action, or of a rule that
// applies, names the call, and has the verdict.
func checkRules(t *testing.T, about string, e *Explainer, x *Explanation, c CallPattern) {
	t.Helper()
	check := func(place, verdict string) {
		if place == e.Policy.Profile.DefaultActionPos.String() {
			if v := seccomptest.VerdictOf(e.Policy.Seccomp.DefaultAction, e.Policy.Seccomp.DefaultErrnoRet); v.String() != verdict {
				t.Errorf("%s %v: %s does not come from the default action", about, c.Args, verdict)
			}
			return
		}
		i := slices.IndexFunc(e.Policy.Profile.Rules, func(r seccomp.Rule) bool { return r.Pos.String() == place })
		if i < 0 {
			t.Errorf("%s %v: no rule is at %q (%s, %s)", about, c.Args, place, verdict, x.Because)
			return
		}
		r := e.Policy.Profile.Rules[i]
		named := slices.ContainsFunc(r.Names, func(n seccomp.Name) bool { return slices.Contains(meant(c), n.Value) })
		if !named || !e.Policy.Decisions[i].Kept || seccomptest.VerdictOf(r.Action, r.ErrnoRet).String() != verdict {
			t.Errorf("%s %v: the rule at %s does not give %s", about, c.Args, place, verdict)
		}
		if c.Given == 6 && len(r.Args) > 0 && !slices.ContainsFunc(seccomptest.Split(flat(&r).Args), func(g []specs.LinuxSeccompArg) bool {
			return !slices.ContainsFunc(g, func(a specs.LinuxSeccompArg) bool {
				return (a.Index != 0 || len(meant(c)) == 1) && !seccomptest.Satisfied(e.Policy.Target.Arch, a, c.Args[a.Index])
			})
		}) {
			t.Errorf("%s %v: the conditions of the rule at %s do not hold", about, c.Args, place)
		}
	}
	for _, one := range x.Cases {
		for _, place := range one.Rules {
			check(place, one.Verdict)
		}
	}
	beyond := x.Verdict == bpf.Verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)).String()
	if len(x.Cases) == 0 && (x.Rule != "" || !beyond && !strings.Contains(x.Because, "32 bits")) {
		check(x.Rule, x.Verdict)
	}
}
