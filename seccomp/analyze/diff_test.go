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
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
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

// randomSource returns a profile in which the rules for a call compare one argument or none;
// see TestCompiledVerdictsRandom for the reason. All calls exist on all architectures: if a
// rule without arguments is for a call that an architecture does not have, and all other
// rules have arguments, libseccomp 2.5.4 forgets to load the number there, and all rules of
// that architecture compare something else.
func randomSource(r *rand.Rand) string {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	defaultAction := pick("ERRNO", "ERRNO", "KILL_PROCESS", "ALLOW")
	var rules []string
	for _, name := range []string{"read", "personality", "mmap", "bind", "clone3", "fchown", "mseal", "futex_requeue"} {
		action := pick("ALLOW", "ALLOW", "LOG", "ERRNO", "KILL_PROCESS")
		if name == "mseal" && action == defaultAction {
			continue // libseccomp 2.5.4 does not know it, so the rule that changes nothing leaves no trace
		}
		index := r.IntN(3)
		switch r.IntN(4) {
		case 0:
			continue
		case 1:
			rules = append(rules, fmt.Sprintf(`{"names": [%q], "action": "SCMP_ACT_%s"}`, name, action))
		case 2:
			rules = append(rules, fmt.Sprintf(`{"names": [%q], "action": "SCMP_ACT_%s", "args": [{"index": %d, "op": "SCMP_CMP_%s", "value": %s, "valueTwo": 1}]}`,
				name, action, index, pick("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"), pick("1", "5", "4294967295", "4294967296", "4294967299")))
		case 3:
			for i := range 2 {
				rules = append(rules, fmt.Sprintf(`{"names": [%q], "action": "SCMP_ACT_%s", "args": [{"index": %d, "op": "SCMP_CMP_EQ", "value": %d}]}`,
					name, action, index, 3*i+r.IntN(2)))
			}
		}
	}
	architectures := pick("", `"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], `)
	return fmt.Sprintf(`{"defaultAction": "SCMP_ACT_%s", %s"syscalls": [%s]}`, defaultAction, architectures, strings.Join(rules, ",\n"))
}

// mutated changes a profile in one place, which often changes its meaning.
func mutated(r *rand.Rand, source string) string {
	from := [][2]string{
		{`"value": 1,`, `"value": 4294967297,`},
		{`_EQ", "value": 3`, `_EQ", "value": 4`},
		{`_GT"`, `_GE"`},
		{`_LT"`, `_LE"`},
		{`"read"`, `"write"`},
		{`"SCMP_ACT_LOG"`, `"SCMP_ACT_ALLOW"`},
		{`, "SCMP_ARCH_X32"]`, `]`},
		{`"bind"`, `"bind", "bind"`},
		{`"MASKED_EQ"`, `"EQ"`},
		{`"value": 5`, `"value": 4294967301`},
		{`"index": 0`, `"index": 1`},
		{`{"defaultAction": "SCMP_ACT_ERRNO"`, `{"defaultAction": "SCMP_ACT_TRAP"`},
		{`{"defaultAction": "SCMP_ACT_ALLOW"`, `{"defaultAction": "SCMP_ACT_TRAP"`},
		{`"mseal"`, `"mseal", "mount"`},
		{`"futex_requeue"`, `"listns"`},
		{`[{"names"`, `[{"names": ["read"], "action": "SCMP_ACT_TRAP"}, {"names"`},
	}
	change := from[r.IntN(len(from))]
	return strings.Replace(source, change[0], change[1], 1)
}

// Diff finds a difference exactly if the judge of the lists does. Each difference is real, and
// exchanging the profiles exchanges A and B.
func TestDiffIsDifferenceOfMeaning(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	same, other := 0, 0
	for round := range 300 {
		target := seccomp.Target{Arch: []syscalls.Arch{syscalls.AMD64, syscalls.AMD64, syscalls.ARM64, syscalls.RISCV64}[round%4], Kernel: seccomp.Kernel{Major: 6, Minor: 18}}
		sourceA := randomSource(r)
		if target.Arch != syscalls.AMD64 {
			sourceA = strings.Replace(sourceA, `"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], `, "", 1)
		}
		sourceB := sourceA
		for range r.IntN(3) {
			sourceB = mutated(r, sourceB)
		}
		a, b := resolved(t, mustParse(t, sourceA), target), resolved(t, mustParse(t, sourceB), target)
		ab, err := Diff(a, b)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, sourceA, sourceB)
		}
		ba, err := Diff(b, a)
		if err != nil {
			t.Fatal(err)
		}
		turned := slices.Clone(ba)
		for i := range turned {
			turned[i].A, turned[i].B = turned[i].B, turned[i].A
		}
		if !sameDifferences(ab, turned) {
			t.Errorf("not symmetric: %v\n%v", ab, ba)
		}
		ja, jb := seccomptest.NewJudge(a.Seccomp, target.Arch), seccomptest.NewJudge(b.Seccomp, target.Arch)
		meant := meantDifference(t, ja, jb)
		if (len(ab) == 0) != (meant == "") {
			t.Errorf("found %d differences, but the lists differ in %q", len(ab), meant)
		}
		for _, d := range ab {
			checkDifference(t, d, ja, jb)
		}
		if t.Failed() {
			t.Fatalf("%s\n%s", sourceA, sourceB)
		}
		if meant == "" {
			same++
		} else {
			other++
		}
	}
	if same < 50 || other < 50 {
		t.Errorf("%d pairs mean the same, %d do not: no fair sample", same, other)
	}
}

// sameDifferences compares without the examples, which may differ.
func sameDifferences(a, b []Difference) bool {
	plain := func(all []Difference) []Difference {
		all = slices.Clone(all)
		for i := range all {
			all[i].Example, all[i].RuleA, all[i].RuleB = "", "", ""
		}
		slices.SortFunc(all, func(x, y Difference) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
		return all
	}
	return slices.Equal(plain(a), plain(b))
}

// meantDifference returns a call on which the judge of two lists differs.
func meantDifference(t *testing.T, ja, jb *seccomptest.Judge) string {
	t.Helper()
	for _, j := range []*seccomptest.Judge{ja, jb} {
		for _, arch := range j.Arches {
			for _, c := range j.Calls(arch) {
				if va, vb := ja.Verdict(t, c), jb.Verdict(t, c); va != vb {
					name, _ := syscalls.NameOf(arch, c.Nr)
					return fmt.Sprintf("%s %s(%#x) nr %d: %s, %s", arch, name, c.Args, c.Nr, va, vb)
				}
			}
		}
	}
	return ""
}

// checkDifference checks that the example shows the difference.
func checkDifference(t *testing.T, d Difference, ja, jb *seccomptest.Judge) {
	t.Helper()
	arch, ok := syscalls.ParseArch(d.Arch)
	if !ok {
		t.Fatalf("%v: no such architecture", d)
	}
	call := bpf.Call{Nr: d.Number, Arch: arch.Audit()}
	if d.Call != UnassignedNumber {
		text := d.Call
		if d.Example != "" {
			text = d.Example
		}
		pattern, err := ParseCall(text, syscalls.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		if call, ok = pattern.Call(arch); !ok {
			t.Fatalf("%v: no such call", d)
		}
	}
	if a, b := ja.Verdict(t, call).String(), jb.Verdict(t, call).String(); a != d.A || b != d.B {
		t.Errorf("found %v, but the lists mean %s, %s", d, a, b)
	}
}

// For conditions on several arguments, running the programs is the oracle: libseccomp does not
// always compile these correctly.
func TestDiffIsDifferenceOfPrograms(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 3))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	source := func() string {
		var rules []string
		for _, name := range []string{"read", "write", "mmap"} {
			for range r.IntN(3) {
				var args []string
				for _, index := range r.Perm(3)[:1+r.IntN(2)] {
					args = append(args, fmt.Sprintf(`{"index": %d, "op": "SCMP_CMP_%s", "value": %s, "valueTwo": 1}`,
						index, pick("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"), pick("1", "2", "4294967295", "4294967296")))
				}
				rules = append(rules, fmt.Sprintf(`{"names": [%q], "action": "SCMP_ACT_%s", "args": [%s]}`, name, pick("ALLOW", "LOG"), strings.Join(args, ", ")))
			}
		}
		return `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [` + strings.Join(rules, ",\n") + `]}`
	}
	count := map[bool]int{}
	for range 200 {
		target := seccomp.Target{Capabilities: nil, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}
		a, b := resolved(t, mustParse(t, source()), target), resolved(t, mustParse(t, source()), target)
		if r.IntN(2) == 0 {
			b = resolved(t, mustParse(t, strings.Replace(string(a.Profile.Source), "_LT", "_LE", 1)), target)
		}
		pa, err := compilePolicy(a)
		if err != nil {
			continue // rules that libseccomp takes for the same
		}
		pb, err := compilePolicy(b)
		if err != nil {
			continue
		}
		found, err := comparePrograms(pa, pb)
		if err != nil {
			t.Fatal(err)
		}
		differ := map[string]bool{}
		for _, j := range []*seccomptest.Judge{seccomptest.NewJudge(a.Seccomp, target.Arch), seccomptest.NewJudge(b.Seccomp, target.Arch)} {
			for _, c := range j.Calls(target.Arch) {
				if name, ok := syscalls.NameOf(target.Arch, c.Nr); ok && bpftest.Interpret(t, pa, c) != bpftest.Interpret(t, pb, c) {
					differ[name] = true
				}
			}
		}
		for name := range differ {
			if !slices.ContainsFunc(found, func(d Difference) bool { return d.Call == name && d.Arch == "amd64" }) {
				t.Errorf("%s is not found\n%s\n%s", name, a.Profile.Source, b.Profile.Source)
			}
		}
		count[len(differ) > 0]++
	}
	if count[true] < 30 || count[false] < 10 {
		t.Errorf("%v: no fair sample", count)
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
