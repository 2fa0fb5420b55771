package analyze

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

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

func explainerFor(p *seccomp.Profile, target seccomp.Target) (*Explainer, error) {
	policy, err := p.Resolve(target)
	if err != nil {
		return nil, err
	}
	return NewExplainer(policy)
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
