package analyze

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

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
