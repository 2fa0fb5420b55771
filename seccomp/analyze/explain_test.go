package analyze

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// explainable are profiles with gates of all kinds.
func explainable() map[string]string {
	rng := rand.New(rand.NewPCG(3, 4))
	all := map[string]string{
		"default":                    string(profiles.Default()),
		"two capabilities":           denying(`{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}`),
		"left out with a capability": denying(`{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}`),
		"denied with a capability": allowing(`{"names": ["mount", "ioctl"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_CHOWN"]}},
			{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_KILL"]}}`),
		"denied without a capability": allowing(`{"names": ["mount", "clone"], "action": "SCMP_ACT_KILL", "excludes": {"caps": ["CAP_CHOWN"]}}`),
		"as Docker has clone": denying(`{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}},
			{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}], "excludes": {"caps": ["CAP_KILL"]}},
			{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_KILL"]}},
			{"names": ["clone3"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}}`),
		"conditions with a capability": denying(`{"names": ["socket", "ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 10, "op": "SCMP_CMP_LT"}], "includes": {"caps": ["CAP_CHOWN"]}},
			{"names": ["socket"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_GE"}, {"index": 1, "value": 3, "op": "SCMP_CMP_NE"}]}`),
		"a second argument": denying(`{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 21522, "op": "SCMP_CMP_NE"}, {"index": 0, "value": 2, "op": "SCMP_CMP_LE"}]}`),
		"alternatives":      denying(`{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]}`),
		"values of more than 32 bits": denying(`{"names": ["personality", "ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 4294967304, "op": "SCMP_CMP_EQ"}]},
			{"names": ["ioctl"], "action": "SCMP_ACT_LOG", "args": [{"index": 1, "value": 12884901888, "op": "SCMP_CMP_GE"}]}`),
		"three arguments": denying(`{"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8589934692, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 3, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 4, "op": "SCMP_CMP_EQ"}]}`),
		"never met": denying(`{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 18446744073709551615, "op": "SCMP_CMP_GT"}]},
			{"names": ["lseek"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_GE"}]},
			{"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_LT"}]}`),
		"bits outside the mask": denying(`{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 2, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}]},
			{"names": ["lseek"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 6, "valueTwo": 5, "op": "SCMP_CMP_MASKED_EQ"}]}`),
		"a door beside a condition": denying(`{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_KILL"]}},
			{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 3, "op": "SCMP_CMP_EQ"}]}`),
		"a condition in place of a wall": `{"defaultAction": "SCMP_ACT_LOG", "syscalls": [
			{"names": ["umount2"], "action": "SCMP_ACT_KILL", "excludes": {"caps": ["CAP_KILL"]}},
			{"names": ["umount2"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}]}`,
		"the horizon moves": denying(`{"names": ["futex_requeue"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"]}}`),
	}
	for i := range 12 {
		all[fmt.Sprintf("random %d", i)] = randomProfile(rng)
	}
	return all
}

func TestExplain(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	sources := explainable()
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		source := sources[name]
		p, err := seccomp.Parse("p.json", []byte(source))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		gates := append(p.Gates(), "CAP_WAKE_ALARM")
		arches := []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.X86, syscalls.S390X}
		if name == "default" { // which takes longer
			arches = arches[:1]
		}
		for _, arch := range arches {
			for range 2 {
				caps := slices.DeleteFunc(slices.Clone(gates), func(string) bool { return rng.IntN(2) == 0 })
				explained(t, name, p, seccomp.Target{Arch: arch, Kernel: seccomp.Kernel{Major: 6, Minor: 1}, Capabilities: caps}, gates)
			}
		}
	}
}

// inquiry is one profile for one target, with the programs for other bounding sets.
type inquiry struct {
	about  string
	e      *Explainer
	single []string                 // flags that change one capability
	others map[string]*bpf.Emulator // by flags; nil where libseccomp refuses
	edited map[string]bool
}

// explained checks the explanations of all calls of a target.
func explained(t *testing.T, name string, p *seccomp.Profile, target seccomp.Target, gates []string) {
	t.Helper()
	e, err := explainerFor(p, target)
	if err != nil {
		return // refused by libseccomp
	}
	q := &inquiry{e: e, others: map[string]*bpf.Emulator{}, edited: map[string]bool{}}
	for _, gate := range gates {
		flag := "--cap-add " + gate
		if slices.Contains(target.Capabilities, gate) {
			flag = "--cap-drop " + gate
		}
		q.single = append(q.single, flag)
	}
	everything := *e.Policy.Seccomp // arguments of rules that are left out count too
	everything.Syscalls = nil
	for i := range p.Rules {
		everything.Syscalls = append(everything.Syscalls, flat(&p.Rules[i]))
	}
	calls := map[string][]bpf.Call{}
	for _, c := range seccomptest.NewJudge(&everything, target.Arch).Calls(target.Arch) {
		if call, ok := syscalls.NameOf(target.Arch, c.Nr); ok {
			calls[call] = append(calls[call], c)
		}
	}
	for multiplexer, others := range map[string][]string{"socketcall": seccomptest.SocketCalls[:], "ipc": seccomptest.IPCCalls[:]} {
		for number, call := range others {
			for _, c := range calls[call] {
				if m, ok := bpf.NewCall(target.Arch, multiplexer, append([]uint64{uint64(number)}, c.Args[1:]...)...); ok {
					calls[multiplexer] = append(calls[multiplexer], m)
				}
			}
		}
	}
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		samples := calls[call]
		q.about = fmt.Sprintf("%s on %s with %v: %s", name, target.Arch, target.Capabilities, call)
		c := CallPattern{Name: call}
		q.check(t, c, slices.DeleteFunc(slices.Clone(samples), func(o bpf.Call) bool { return wide(o, c) }))
		if len(samples) == 1 {
			continue
		}
		for _, c := range samples[:min(len(samples), 40)] {
			for given := 1; given <= 6; given++ {
				prefix := CallPattern{Name: call, Given: given}
				copy(prefix.Args[:given], c.Args[:])
				q.check(t, prefix, slices.DeleteFunc(slices.Clone(samples), func(o bpf.Call) bool {
					return !slices.Equal(o.Args[:given], c.Args[:given]) || wide(o, prefix)
				}))
			}
		}
	}
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

func explainerFor(p *seccomp.Profile, target seccomp.Target) (*Explainer, error) {
	policy, err := p.Resolve(target)
	if err != nil {
		return nil, err
	}
	return NewExplainer(policy)
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

// TestExplainBecause checks the reasons for verdicts.
func TestExplainBecause(t *testing.T) {
	source := denying(`{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "comment": "as Docker", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 4294967295, "op": "SCMP_CMP_EQ"}]},
{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
{"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
{"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
{"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["x32"]}},
{"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
{"names": ["memfd_secret"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}}`)
	p, err := seccomp.Parse("p.json", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	e, err := explainerFor(p, amd64)
	if err != nil {
		t.Fatal(err)
	}
	const edit = "edit: allow "
	for _, tt := range []struct {
		call, verdict, because, rule, comment string
		changes                               []string
	}{
		{"execve", "ALLOW", "the rule decides", "p.json:2:1", "", nil},
		{"personality(8)", "ALLOW", "the rule decides", "p.json:4:1", "as Docker", nil},
		{"personality(-1)", "ALLOW", "the rule decides", "p.json:5:1", "", nil},
		{"personality", "DEPENDS", "its arguments decide", "", "", []string{edit + "personality"}},
		{
			"personality(2)", "ERRNO(EPERM)", "rules name it, but none of them applies: the default action", "p.json:1:19", "",
			[]string{"arguments: arg0 == PER_LINUX32 or arg0 == 0xffffffff", edit + "personality"},
		},
		{
			"personality(0x100000008)", "ERRNO(EPERM)", "an argument that the kernel reads as 32 bits has upper bits set: no rule is trusted with it", "", "",
			[]string{"arguments: arg0 == PER_LINUX32 or arg0 == 0xffffffff", edit + "personality"},
		},
		{"mount", "ERRNO(EPERM)", "rules name it, but none of them applies: the default action", "p.json:1:19", "", []string{"capability: --cap-add CAP_SYS_ADMIN", edit + "mount"}},
		{"umount2", "ERRNO(EPERM)", "no rule names it: the default action", "p.json:1:19", "", []string{edit + "umount2"}},
		{
			"memfd_secret", "ERRNO(ENOSYS)", "rules name it, but none of them applies, and it is newer than every call of those that do, so that programs fall back to older ones", "", "",
			[]string{"capability: --cap-add CAP_SYS_ADMIN", edit + "memfd_secret"},
		},
		{"mseal", "ERRNO(ENOSYS)", "newer than every call that the profile names, so that programs fall back to older ones", "", "", []string{edit + "mseal"}},
		{
			"ptrace", "ERRNO(EPERM)", "rules name it, but none of them applies (that at 7:1 is for Linux 6.2 and later, that at 8:1 is for Linux before 4.8): the default action",
			"p.json:1:19", "",
			[]string{edit + "ptrace"},
		},
		{
			"arch_prctl", "ERRNO(EPERM)", "rules name it, but none of them applies (that at 9:1 is for other architectures, that at 10:1 is not for amd64): the default action",
			"p.json:1:19", "",
			[]string{edit + "arch_prctl"},
		},
	} {
		c, err := ParseCall(tt.call, syscalls.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		x, err := e.Explain(c)
		if err != nil {
			t.Fatal(err)
		}
		var changes []string
		for _, change := range x.Remedies {
			changes = append(changes, string(change.Kind)+": "+how(change))
		}
		got := []any{x.Verdict, x.Because, x.Rule, x.Comment, changes}
		if diff := cmp.Diff([]any{tt.verdict, tt.because, tt.rule, tt.comment, tt.changes}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.call, diff)
		}
	}
	if _, err := e.Explain(CallPattern{Name: "riscv_hwprobe"}); err == nil || err.Error() != "amd64 has no call riscv_hwprobe" {
		t.Errorf("a call of another architecture: %v", err)
	}
}

// how returns a remedy in words.
func how(r Remedy) string {
	switch r.Kind {
	case RemedyCapability:
		var flags []string
		for _, name := range r.Add {
			flags = append(flags, "--cap-add "+name)
		}
		for _, name := range r.Drop {
			flags = append(flags, "--cap-drop "+name)
		}
		return strings.Join(flags, " ")
	case RemedyEdit:
		return string(r.Edit.Action) + " " + strings.Join(r.Edit.Names, ",")
	}
	return r.Arguments
}

// flat is a rule of the flat list.
func flat(r *seccomp.Rule) specs.LinuxSyscall {
	s := specs.LinuxSyscall{Action: r.Action, ErrnoRet: r.ErrnoRet}
	for _, n := range r.Names {
		s.Names = append(s.Names, n.Value)
	}
	for _, a := range r.Args {
		s.Args = append(s.Args, specs.LinuxSeccompArg{Index: a.Index, Value: a.Value, ValueTwo: a.ValueTwo, Op: a.Op})
	}
	return s
}
