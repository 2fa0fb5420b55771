package analyze

import (
	"errors"
	"fmt"
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

// TestFix checks that what has no effect is removed, with its comma and space, and that the
// rest stays the same, byte for byte.
func TestFix(t *testing.T) {
	for _, tt := range []struct{ name, before, after string }{
		{"names", `{
	"defaultAction": "SCMP_ACT_ERRNO",  "syscalls": [
		{
			"names": [
				"read",
				"write", "read",

				"close",
				"close"
			],  "action": "SCMP_ACT_ALLOW"
		}]
}`, `{
	"defaultAction": "SCMP_ACT_ERRNO",  "syscalls": [
		{
			"names": [
				"read",
				"write",

				"close"
			],  "action": "SCMP_ACT_ALLOW"
		}]
}`},
		{"rules", `{
	"syscalls": [
		{"names": ["chown"], "action": "SCMP_ACT_ERRNO"},
		{"name": "read", "action": "SCMP_ACT_ALLOW" },

		{
			"names": ["read"],
			"action": "SCMP_ACT_LOG"
		},
		{"name": "read", "action": "SCMP_ACT_LOG"},
		{"names": ["openat"], "action": "SCMP_ACT_ALLOW"}
	], "defaultAction": "SCMP_ACT_ERRNO"
}
`, `{
	"syscalls": [
		{"name": "read", "action": "SCMP_ACT_ALLOW" },
		{"names": ["openat"], "action": "SCMP_ACT_ALLOW"}
	], "defaultAction": "SCMP_ACT_ERRNO"
}
`},
		{
			"all", "{\"syscalls\": [ {\"names\": [\"read\"], \"action\": \"SCMP_ACT_ALLOW\"}\r\n],\r\n\"defaultAction\": \"SCMP_ACT_ALLOW\"}",
			"{\"syscalls\": [],\r\n\"defaultAction\": \"SCMP_ACT_ALLOW\"}",
		},
		{"what the author has to decide", `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "raed"], "action": "SCMP_ACT_ALLOW"},
{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}}]}`, ""},
		{"notes", `{
	"_comment": ["a"],
	"defaultAction": "SCMP_ACT_ALLOW", "description": "d",
	"syscalls": [
		{"names": [], "action": "SCMP_ACT_ERRNO"},
		{"_why": 1, "names": ["bpf", "bpf"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ", "_b": 1}]}
	]
}`, `{
	"defaultAction": "SCMP_ACT_ALLOW",
	"syscalls": [
		{"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
	]
}`},
		{
			"in a configuration", `{"ociVersion": "1.2.0", "_x": 1, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "_y": 2, "syscalls": [{"names": [], "action": "SCMP_ACT_ERRNO"}]}}}`,
			`{"ociVersion": "1.2.0", "_x": 1, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}}}`,
		},
		{"no profile", `{"syscalls": {}}`, ""},
		{"no JSON", `{"syscalls": [`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after, n, err := Fix([]byte(tt.before), lint(t, tt.before))
			if err != nil {
				t.Fatal(err)
			}
			if tt.after == "" {
				tt.after = tt.before
			}
			if diff := cmp.Diff(tt.after, string(after)); diff != "" {
				t.Errorf("fixed (-want +got):\n%s", diff)
			}
			if (n > 0) != (tt.before != tt.after) {
				t.Errorf("%d are said to be fixed", n)
			}
		})
	}
}

// TestFixKeepsVerdicts checks that safe fixes change no verdict, for every target, and leave
// nothing to fix.
func TestFixKeepsVerdicts(t *testing.T) {
	sources := map[string]string{"default": string(profiles.Default())}
	for _, tt := range lintCases() {
		sources[tt.name] = tt.source
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 150 {
		sources[fmt.Sprintf("random %d", i)] = randomProfile(rng)
	}
	total := 0
	for name, source := range sources {
		total += fixed(t, name, source)
	}
	if total < 300 {
		t.Errorf("only %d findings were fixed: the profiles try too little", total)
	}
}

func fixed(t *testing.T, name, source string) int {
	t.Helper()
	before := lint(t, source)
	after, n, err := Fix([]byte(source), before)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, source)
	}
	wanted := 0
	for _, f := range before {
		if f.removable {
			wanted++
		}
	}
	if n != wanted {
		t.Errorf("%s: %d fixed, want %d\n%s", name, n, wanted, source)
	}
	if n == 0 {
		if string(after) != source {
			t.Errorf("%s: nothing to fix, and yet it changed:\n%s", name, after)
		}
		return 0
	}
	for _, f := range lint(t, string(after)) {
		if f.removable || f.ID == "invalid" {
			t.Errorf("%s: remains: %s: %s\n%s\nof\n%s", name, f.Where, f.Message, after, source)
		}
	}
	if !strings.Contains(string(after), `"syscalls": []`) { // which closes up
		sameLines(t, name, source, string(after), before)
	}
	sameVerdicts(t, name, source, string(after))
	return n
}

// sameLines checks that all lines without a finding stay, except for blank ones and for a comma
// before a removed rule.
func sameLines(t *testing.T, name, before, after string, findings []Finding) {
	t.Helper()
	rest := strings.Split(after, "\n")
	for i, line := range strings.Split(before, "\n") {
		if line == "" || slices.ContainsFunc(findings, func(f Finding) bool { return f.removable && f.Pos.Line == i+1 }) {
			continue
		}
		at := slices.IndexFunc(rest, func(o string) bool { return strings.TrimSuffix(o, ",") == strings.TrimSuffix(line, ",") })
		if at < 0 {
			t.Errorf("%s: line %d is not as it was: %s\nnow\n%s", name, i+1, line, after)
			return
		}
		rest = rest[at+1:]
	}
}

func sameVerdicts(t *testing.T, name, before, after string) {
	t.Helper()
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.S390X} {
		for _, kernel := range []seccomp.Kernel{{Major: 4, Minor: 7}, {Major: 6, Minor: 1}} {
			for _, caps := range [][]string{nil, {"CAP_CHOWN"}, {"CAP_CHOWN", "CAP_KILL"}} {
				target := seccomp.Target{Arch: arch, Kernel: kernel, Capabilities: caps}
				one, list := emulatorFor(t, before, target)
				if one == nil {
					continue
				}
				other, _ := emulatorFor(t, after, target)
				if other == nil {
					t.Fatalf("%s: no longer compiles\n%s", name, after)
				}
				j := seccomptest.NewJudge(list, arch)
				for _, a := range j.Arches {
					for _, c := range j.Calls(a) {
						v, w := verdictFrom(t, one, c), verdictFrom(t, other, c)
						if v != w {
							t.Fatalf("%s, %+v: call %+v was %s and is %s\nbefore\n%s\nafter\n%s", name, target, c, v, w, before, after)
						}
					}
				}
			}
		}
	}
}

// emulatorFor compiles a profile. It returns nil if libseccomp refuses rules that conflict.
func emulatorFor(t *testing.T, source string, target seccomp.Target) (*bpf.Emulator, *specs.LinuxSeccomp) {
	t.Helper()
	p, err := seccomp.Parse("p.json", []byte(source))
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	policy, err := p.Resolve(target)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewExplainer(policy)
	var refused *seccomp.Problem
	if errors.As(err, &refused) {
		return nil, nil
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	return e.emu, policy.Seccomp
}

func verdictFrom(t *testing.T, e *bpf.Emulator, c bpf.Call) bpf.Verdict {
	t.Helper()
	v, err := e.Run(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// randomProfile returns a profile with few calls and few capabilities, so that rules repeat
// each other. Conditions on a call compare different values, since libseccomp does not define
// the meaning of overlapping rules with different actions.
func randomProfile(rng *rand.Rand) string {
	actions := []string{"ALLOW", "ALLOW", "ERRNO", "LOG", "TRAP", "KILL", "KILL_THREAD"}
	some := func(of []string, most int) []string {
		var all []string
		for range 1 + rng.IntN(most) {
			all = append(all, fmt.Sprintf("%q", of[rng.IntN(len(of))]))
		}
		return all
	}
	value := 0
	var rules []string
	for range 1 + rng.IntN(12) {
		names := some([]string{"read", "chown", "mount", "socket", "ioctl", "personality", "futex_requeue", "mseal", "listns", "raed", "shmat", "umount", "umount2"}, 5)
		members := []string{`"names": [` + strings.Join(names, []string{", ", ",", " ,\t"}[rng.IntN(3)]) + "]"}
		if len(names) == 1 && rng.IntN(3) == 0 {
			members[0] = `"name": ` + names[0]
		}
		members = append(members, fmt.Sprintf(`"action": "SCMP_ACT_%s"`, actions[rng.IntN(len(actions))]))
		if rng.IntN(4) == 0 {
			members = append(members, fmt.Sprintf(`"errnoRet": %d`, []int{1, 38}[rng.IntN(2)]))
		}
		if rng.IntN(4) == 0 {
			value++
			members = append(members, fmt.Sprintf(`"args": [{"index": 1, "value": %d, "op": "SCMP_CMP_EQ"}]`, value))
		}
		for _, kind := range []string{"includes", "excludes"} {
			switch rng.IntN(8) {
			case 0, 1:
				caps := slices.Compact(slices.Sorted(slices.Values(some([]string{"CAP_CHOWN", "CAP_KILL"}, 2))))
				members = append(members, fmt.Sprintf(`%q: {"caps": [%s]}`, kind, strings.Join(caps, ", ")))
			case 2:
				members = append(members, fmt.Sprintf(`%q: {"arches": ["amd64"]}`, kind))
			case 3:
				members = append(members, fmt.Sprintf(`%q: {"minKernel": "4.8"}`, kind))
			}
		}
		rules = append(rules, "{"+strings.Join(members, ", ")+"}")
	}
	arches := `"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],`
	return fmt.Sprintf("{\n\t\"defaultAction\": \"SCMP_ACT_%s\", %s\n\t\"syscalls\": [\n\t\t%s\n\t]\n}\n",
		actions[rng.IntN(len(actions))], arches, strings.Join(rules, ",\n\t\t"))
}

// YAML is not rewritten: something to fix is an error.
func TestFixYAML(t *testing.T) {
	source := "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\nspec:\n  defaultAction: SCMP_ACT_ERRNO\n  syscalls:\n  - names: [read, read]\n    action: SCMP_ACT_ALLOW\n"
	after, n, err := Fix([]byte(source), lint(t, source))
	if !errors.Is(err, seccomp.ErrYAML) || n != 0 || string(after) != source {
		t.Errorf("got %d, %v", n, err)
	}
}
