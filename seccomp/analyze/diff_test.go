package analyze

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// differences returns what Diff finds, one on each line.
func differences(t *testing.T, a, b *seccomp.Profile, target seccomp.Target) []string {
	t.Helper()
	found, err := Diff(resolved(t, a, target), resolved(t, b, target))
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for _, d := range found {
		lines = append(lines, d.String())
	}
	return lines
}

func TestDiff(t *testing.T) {
	// A profile denies all calls that its rules do not allow; with subs also those of x86 and x32.
	profile := func(rules string) string {
		return `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [` + rules + `]}`
	}
	subs := func(rules string) string {
		return strings.Replace(profile(rules), `, "sys`, `, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "sys`, 1)
	}
	personality := func(args string) string {
		return `{"names": ["personality", "read"], "action": "SCMP_ACT_ALLOW", "args": [` + args + `]}`
	}
	const readWrite = `{"names": ["read", "write", "futex_requeue"], "action": "SCMP_ACT_ALLOW"}`
	const mount = `{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}}`
	for _, tt := range []struct {
		name string
		a, b string
		caps []string
		arch syscalls.Arch
		want []string
	}{
		{"the same", profile(readWrite), profile(readWrite), nil, syscalls.AMD64, nil},
		{
			"the same, said otherwise", profile(readWrite),
			profile(`{"name": "write", "action": "SCMP_ACT_ALLOW"}, {"names": ["futex_requeue"], "action": "SCMP_ACT_ALLOW"}, {"names": ["read"], "action": "SCMP_ACT_ALLOW"}`),
			nil, syscalls.AMD64, nil,
		},
		{"a gate that is open", profile(readWrite + "," + mount), profile(readWrite), []string{"CAP_SYS_ADMIN"}, syscalls.AMD64, []string{"amd64 mount: ALLOW, ERRNO(EPERM)"}},
		{"a gate that is shut", profile(readWrite + "," + mount), profile(readWrite), []string{"CAP_CHOWN"}, syscalls.AMD64, nil},
		{
			"a value", profile(readWrite + "," + `{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 8}]}`),
			profile(readWrite), nil, syscalls.AMD64,
			[]string{"amd64 personality(PER_LINUX32): ALLOW, ERRNO(EPERM)"},
		},
		{
			"another errno", profile(readWrite + `,{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2}`), profile(readWrite),
			nil, syscalls.AMD64,
			[]string{"amd64 mount: ERRNO(ENOENT), ERRNO(EPERM)"},
		},
		{
			"architectures", subs(readWrite), profile(readWrite), nil, syscalls.AMD64,
			nil, // all calls of x86 and x32: see below
		},
		{
			"elsewhere", profile(readWrite), profile(`{"names": ["read", "write", "renameat", "futex_requeue"], "action": "SCMP_ACT_ALLOW"}`),
			nil, syscalls.ARM64,
			[]string{"arm64 renameat: ERRNO(EPERM), ALLOW"},
		},
		{
			"above 32 bits", profile(readWrite + "," + personality(`{"index": 1, "op": "SCMP_CMP_EQ", "value": 5}`)),
			profile(readWrite + "," + personality(`{"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 4294967295, "valueTwo": 5}`)),
			nil, syscalls.AMD64,
			[]string{"amd64 personality(PER_LINUX, 0x100000005): ERRNO(EPERM), ALLOW"},
		},
		{
			"by a multiplexer", subs(readWrite + `,{"names": ["bind"], "action": "SCMP_ACT_ALLOW"}`), subs(readWrite),
			nil, syscalls.AMD64,
			[]string{
				"amd64 bind: ALLOW, ERRNO(EPERM)", "x86 socketcall(SYS_BIND): ALLOW, ERRNO(EPERM)", "x86 bind: ALLOW, ERRNO(EPERM)",
				"x32 bind: ALLOW, ERRNO(EPERM)",
			},
		},
		{
			"by another", subs(readWrite), subs(readWrite + `,{"names": ["semget"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": 7}]}`),
			nil, syscalls.AMD64,
			[]string{
				"amd64 semget(0, 7): ERRNO(EPERM), ALLOW", "x86 ipc(2, 7): ERRNO(EPERM), ALLOW", "x86 semget(0, 7): ERRNO(EPERM), ALLOW",
				"x32 semget(0, 7): ERRNO(EPERM), ALLOW",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := seccomp.Target{Capabilities: tt.caps, Arch: tt.arch, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}
			got := differences(t, mustParse(t, tt.a), mustParse(t, tt.b), target)
			if tt.name == "architectures" {
				checkArchitectures(t, got)
				return
			}
			if diff := cmp.Diff(append([]string{}, tt.want...), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Rules that differ only where three arguments have more than 32 bits are found to differ.
// There would be too many combinations of values to try them all.
func TestDiffThreeArguments(t *testing.T) {
	rule := func(values ...uint64) string {
		var args []string
		for i, v := range values {
			args = append(args, fmt.Sprintf(`{"index": %d, "op": "SCMP_CMP_EQ", "value": %d}`, i, v))
		}
		return `{"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [` + strings.Join(args, ", ") + `]}`
	}
	source := func(rules ...string) string {
		return `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["futex_requeue"], "action": "SCMP_ACT_ALLOW"},` + "\n" + strings.Join(rules, ",\n") + `]}`
	}
	first, second := rule(0x100000009, 0x100000008, 0x100000007), rule(0x300000001, 0x300000002, 0x300000003)
	third := rule(0x200000064, 0x2000000c8, 0x20000012c)
	target := seccomp.Target{Capabilities: nil, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}
	a, b := mustParse(t, source(first, second)), mustParse(t, source(first, second, third))
	found, err := Diff(resolved(t, a, target), resolved(t, b, target))
	if err != nil {
		t.Fatal(err)
	}
	want := []Difference{{
		Arch: "amd64", Call: "mmap", Number: 9, Example: "mmap(0x200000064, 0x2000000c8, 0x20000012c)",
		A: "ERRNO(EPERM)", B: "ALLOW", RuleA: "p.json:1:19", RuleB: "p.json:4:1",
	}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	// One call is let through, which is not a denial.
	only := mustParse(t, source(third))
	got := failing(t, only, target, "deny mmap")
	if want := []string{"a.test:1:1: mmap(0x200000064, 0x2000000c8, 0x20000012c): want deny, got ALLOW (p.json:2:1)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := failing(t, only, target, "deny mmap(0x200000064)\nallow mmap(0x200000064, 0x2000000c8, 0x20000012c)\ndeny mmap(1)"); len(got) != 1 {
		t.Errorf("got %q, want one failure", got)
	}
}

// Long lists of values, such as ioctl's numbers, and of pairs of values can be compared: a
// value that is missing in one of two profiles is found. The upper halves are 0, since
// libseccomp 2.5.4 loses rules of long lists with other values.
func TestDiffLongLists(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 4))
	var rules []string
	for range 400 {
		rules = append(rules, fmt.Sprintf(`{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": %d}]}`, r.Uint32()))
	}
	for range 200 {
		rules = append(rules, fmt.Sprintf(`{"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "op": "SCMP_CMP_EQ", "value": %d}, {"index": 4, "op": "SCMP_CMP_EQ", "value": %d}]}`, r.Uint64N(20), r.Uint32()))
	}
	profile := func(rules []string) *seccomp.Policy {
		source := `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["futex_requeue"], "action": "SCMP_ACT_ALLOW"},` + "\n" + strings.Join(rules, ",\n") + `]}`
		return resolved(t, mustParse(t, source), seccomp.Target{Capabilities: nil, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
	}
	whole := profile(rules)
	for _, missing := range []int{0, 399, 400, 599} {
		found, err := Diff(whole, profile(slices.Delete(slices.Clone(rules), missing, missing+1)))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 || found[0].RuleA != fmt.Sprintf("p.json:%d:1", missing+2) {
			t.Errorf("without rule %d: %+v", missing, found)
		}
	}
}

// A program kills the calls of an architecture that its profile does not list.
func checkArchitectures(t *testing.T, got []string) {
	t.Helper()
	for _, want := range []string{"x86 read: ALLOW, KILL_THREAD", "x32 read: ALLOW, KILL_THREAD", "x86 mount: ERRNO(EPERM), KILL_THREAD"} {
		if !slices.Contains(got, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if i := slices.IndexFunc(got, func(l string) bool { return strings.HasPrefix(l, "amd64 ") }); i >= 0 {
		t.Errorf("too much: %s", got[i])
	}
}

// The profile of the walkthrough differs from Docker's in the chown calls of each
// architecture, and in none with the capability.
func TestDiffGate(t *testing.T) {
	gated, err := os.ReadFile("../../profiles/chown-audit-control.json")
	if err != nil {
		t.Fatal(err)
	}
	a, b := mustParse(t, string(profiles.Default())), mustParse(t, string(gated))
	family := map[syscalls.Arch]string{
		syscalls.AMD64: "amd64 chown,amd64 fchown,amd64 lchown,amd64 fchownat",
		syscalls.ARM64: "arm64 fchownat,arm64 fchown",
	}
	for arch, want := range family {
		var native []string
		for _, line := range differences(t, a, b, seccomp.Target{Capabilities: seccomptest.DockerDefaults(), Arch: arch, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}) {
			call, verdicts, _ := strings.Cut(line, ": ")
			if verdicts != "ALLOW, ERRNO(EPERM)" || !strings.Contains(call, "chown") {
				t.Error(line)
			}
			if strings.HasPrefix(call, arch.String()+" ") {
				native = append(native, call)
			}
		}
		wants := strings.Split(want, ",")
		slices.Sort(wants)
		slices.Sort(native)
		if diff := cmp.Diff(wants, native); diff != "" {
			t.Error(diff)
		}
	}
	with := append(seccomptest.DockerDefaults(), "CAP_AUDIT_CONTROL")
	if got := differences(t, a, b, seccomp.Target{Capabilities: with, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}); len(got) > 0 {
		t.Error(got)
	}
}

// An example has the constants of its architecture.
func TestDiffExampleOfArch(t *testing.T) {
	target := seccomp.Target{Arch: syscalls.S390X, Kernel: seccomp.Kernel{Major: 6, Minor: 1}}
	resolve := func(source string) *seccomp.Policy {
		p, err := seccomp.Parse("p.json", []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		policy, err := p.Resolve(target)
		if err != nil {
			t.Fatal(err)
		}
		return policy
	}
	open := resolve(`{"defaultAction": "SCMP_ACT_ALLOW"}`)
	closed := resolve(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ERRNO",
		"args": [{"index": 1, "value": 268435456, "valueTwo": 268435456, "op": "SCMP_CMP_MASKED_EQ"}]}]}`)
	found, err := Diff(open, closed)
	if err != nil || len(found) != 1 || found[0].Example != "clone(0, CLONE_NEWUSER)" {
		t.Errorf("found %+v, %v", found, err)
	}
}
