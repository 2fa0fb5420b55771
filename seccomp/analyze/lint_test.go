package analyze

import (
	"fmt"
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

// launches is a line with a rule for the call that a start needs, and its sibling.
const launches = `{"names": ["execve", "execveat"], "action": "SCMP_ACT_ALLOW"}`

// lintCase is a profile and its findings, as LINE:COLUMN SEVERITY ID.
type lintCase struct {
	name   string
	source string
	want   []string
}

// denying returns a profile whose default is EPERM. The rules begin on line 4.
func denying(rules string) string {
	return "{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [\n" + launches + ",\n\n" + rules + "\n]}\n"
}

// allowing returns a profile whose default lets calls through. The rules begin on line 2.
func allowing(rules string) string {
	return "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [\n" + rules + "\n]}\n"
}

const horizonToo = "1:19 info enosys-horizon"

func lintCases() []lintCase {
	return []lintCase{
		{"clean", denying(`{"names": ["read"], "action": "SCMP_ACT_ALLOW"}`), []string{horizonToo}},
		{"the first of two rules wins", denying(`{"names": ["read"], "action": "SCMP_ACT_ALLOW"},
{"names": ["getuid", "read"], "action": "SCMP_ACT_LOG"}`), []string{horizonToo, "5:22 warning dead-name"}},
		{"a rule without conditions beats one with any", denying(`{"names": ["ioctl"], "action": "SCMP_ACT_LOG", "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]},
{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"}`), []string{horizonToo, "4:12 warning dead-name"}},
		{"a gate beside an open door", denying(`{"names": ["read"], "action": "SCMP_ACT_ALLOW"},
{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"]}}`), []string{horizonToo, "5:12 warning dead-name"}},
		{"gates of one kind", denying(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"]}},
{"names": ["read"], "action": "SCMP_ACT_LOG", "includes": {"caps": ["CAP_CHOWN"]}}`), []string{horizonToo, "5:12 warning dead-name"}},
		{"gates of two kinds", denying(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"]}},
{"names": ["read"], "action": "SCMP_ACT_LOG", "excludes": {"caps": ["CAP_CHOWN"]}}`), []string{horizonToo}},
		{"a rule like the default hides nothing", denying(`{"names": ["read"], "action": "SCMP_ACT_ERRNO"},
{"names": ["read"], "action": "SCMP_ACT_ALLOW"}`), []string{horizonToo, "4:1 warning dead-rule"}},
		{"default action", denying(`{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}`), []string{horizonToo, "4:1 warning dead-rule"}},
		{"default action with another errno", denying(`{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}`), []string{horizonToo}},
		{"default action that moves the horizon", denying(`{"names": ["futex_requeue"], "action": "SCMP_ACT_ERRNO"}`), []string{horizonToo}},
		{"default action that lets through", allowing(`{"names": ["futex_requeue"], "action": "SCMP_ACT_ALLOW"},
{"names": ["mount", "move_mount"], "action": "SCMP_ACT_ERRNO"}`), []string{"2:1 warning dead-rule"}},
		{"twice in a rule", denying(`{"names": ["read", "getuid", "read"], "action": "SCMP_ACT_ALLOW"}`), []string{horizonToo, "4:30 warning duplicate-name"}},
		{"unknown call", denying(`{"names": ["read", "raed"], "action": "SCMP_ACT_ALLOW"}`), []string{horizonToo, "4:20 warning unknown-call"}},
		{"call that libseccomp does not know", allowing(`{"names": ["listns"], "action": "SCMP_ACT_ERRNO"}`), []string{"2:12 info new-call"}},
		{"repeated index", denying(`{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
	{"index": 1, "value": 1, "op": "SCMP_CMP_GT"},
	{"index": 1, "value": 9, "op": "SCMP_CMP_LT"}]}`), []string{horizonToo, "6:2 warning repeated-index"}},
		{"int compared with 64 bits", denying(`{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
	{"index": 0, "value": 4294967298, "op": "SCMP_CMP_EQ"}]}`), []string{horizonToo, "5:2 error impossible-condition"}},
		{"value outside its mask", denying(`{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
	{"index": 0, "value": 2, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}]}`), []string{horizonToo, "5:2 warning idle-condition"}},
		{"chown without its siblings", allowing(`{"names": ["chown"], "action": "SCMP_ACT_ERRNO"}`), []string{"2:12 warning missing-sibling"}},
		{"openat without openat2", allowing(`{"names": ["open", "openat"], "action": "SCMP_ACT_ERRNO"}`), []string{"2:12 warning missing-sibling"}},
		{"empty", `{}`, []string{"1:1 error invalid"}},
		{
			"misspelt", `{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86-64"], "syscalls": [
{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHWON", "AUDIT_CONTROL"], "arches": ["amd46"]}}]}`,
			[]string{"1:55 error invalid", "2:71 error invalid", "2:84 error invalid", "2:113 error invalid"},
		},
		{"notes and cases", `{"_comment": 1, "DefaultAction": "SCMP_ACT_ALLOW", "syscalls": [
{"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "note": "n"}]}`, []string{"1:2 warning unknown-key", "1:17 warning key-case", "2:48 warning unknown-key"}},
		{"no names", allowing(`{"names": [], "action": "SCMP_ACT_ERRNO"},
{"names": null, "action": "SCMP_ACT_ERRNO"},
{"name": "", "action": "SCMP_ACT_ERRNO"}, {"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}`), []string{"2:1 warning dead-rule", "3:1 warning dead-rule", "4:1 warning dead-rule"}},
		{"nothing denied", `{"defaultAction": "SCMP_ACT_ALLOW"}`, []string{"1:19 warning open-profile"}},
		{"nothing denied by any rule", allowing(`{"name": "read", "action": "SCMP_ACT_ALLOW"}`), []string{"1:19 warning open-profile", "2:1 warning dead-rule"}},
		{"a name alone", denying(`{"name": "getuid", "action": "SCMP_ACT_ALLOW"},
{"name": "getuid", "action": "SCMP_ACT_LOG"}`), []string{horizonToo, "5:10 warning dead-name"}},
		{
			"never there", denying(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL", "CAP_CHOWN"]}, "excludes": {"caps": ["CAP_CHOWN"]}},
{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}, "excludes": {"arches": ["arm64", "amd64"]}},
{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.10"}, "excludes": {"minKernel": "5.9"}}`),
			[]string{horizonToo, "4:1 warning dead-rule", "5:1 warning dead-rule", "6:1 warning dead-rule"},
		},
		{"there sometimes", denying(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}, "excludes": {"caps": ["CAP_CHOWN"]}},
{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "arm64"]}, "excludes": {"arches": ["arm64"]}},
{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.9"}, "excludes": {"minKernel": "5.10"}}`), []string{horizonToo}},
		{"select without the call of 32-bit programs", `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
{"names": ["read", "select", "_newselect", "pselect6"], "action": "SCMP_ACT_ERRNO"}]}`, []string{"2:20 warning missing-sibling"}},
		{"wider forms", `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
{"names": ["setuid"], "action": "SCMP_ACT_ERRNO"}]}`, []string{"2:12 warning missing-sibling"}},
		{"no wider forms without 32-bit programs", allowing(`{"names": ["setuid", "select", "pselect6"], "action": "SCMP_ACT_ERRNO"}`), nil},
		{"multiplexers", `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
{"names": ["bind", "shmat"], "action": "SCMP_ACT_ERRNO"},
{"names": ["socketcall", "ipc"], "action": "SCMP_ACT_LOG"}]}`, []string{"3:12 info missing-sibling", "3:26 info missing-sibling"}},
		{"what is in one call for 32-bit programs", `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
{"names": ["bind"], "action": "SCMP_ACT_TRAP", "includes": {"caps": ["CAP_CHOWN"]}},
{"names": ["getpid", "bind"], "action": "SCMP_ACT_ERRNO"}]}`, []string{"3:1 error conflict"}},
		{"an agent", `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/a", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "syscalls": [
{"names": ["bpf"], "action": "SCMP_ACT_NOTIFY"}]}`, nil},
		{"no agent", `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "", "syscalls": [
{"names": ["acct"], "action": "SCMP_ACT_ERRNO"},
{"names": ["bpf"], "action": "SCMP_ACT_NOTIFY"}]}`, []string{"3:30 error no-listener"}},
		{"an agent for nothing", `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/a", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "syscalls": [
{"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}]}`, []string{"1:53 warning idle-listener", "1:73 error idle-flag"}},
		{"an agent for all calls", `{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/a"}`, []string{"1:19 info runc-notify"}},
		{"an agent for write", `{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/a", "syscalls": [
{"names": ["write", "writev", "pwritev", "pwritev2"], "action": "SCMP_ACT_NOTIFY"}]}`, []string{"2:12 info runc-notify"}},
		{"start denied", `{"defaultAction": "SCMP_ACT_KILL"}`, []string{"1:19 error no-execve"}},
	}
}

var amd64 = seccomp.Target{Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 1}, Capabilities: []string{"CAP_CHOWN", "CAP_KILL"}}

func listed(findings []Finding) []string {
	var all []string
	for _, f := range findings {
		all = append(all, fmt.Sprintf("%d:%d %s %s", f.Pos.Line, f.Pos.Column, f.Severity, f.ID))
	}
	return all
}

func lint(t *testing.T, source string) []Finding {
	t.Helper()
	findings, err := Lint("p.json", []byte(source), amd64)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

func TestLint(t *testing.T) {
	var ids []string
	for _, tt := range lintCases() {
		t.Run(tt.name, func(t *testing.T) {
			findings := lint(t, tt.source)
			if diff := cmp.Diff(tt.want, listed(findings)); diff != "" {
				t.Errorf("findings (-want +got):\n%s%v", diff, findings)
			}
			for _, f := range findings {
				ids = append(ids, f.ID)
				if want := fmt.Sprintf("p.json:%d:%d", f.Pos.Line, f.Pos.Column); f.Where != want {
					t.Errorf("where is %s, want %s", f.Where, want)
				}
				if f.Message == "" {
					t.Errorf("%s has no message", f.Where)
				}
			}
		})
	}
	for _, r := range LintRules() {
		if !slices.Contains(ids, r.ID) {
			t.Errorf("no case finds %s", r.ID)
		}
	}
	if !slices.IsSortedFunc(LintRules(), func(a, b LintRule) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("LintRules is not sorted")
	}
}

// TestLintDefault checks that Docker's profile has no findings above Info.
func TestLintDefault(t *testing.T) {
	for _, f := range lint(t, string(profiles.Default())) {
		if f.Severity != Info {
			t.Errorf("%s: %s: %s", f.Where, f.Severity, f.Message)
		}
	}
}

// TestLintConditions checks findings that a condition is met never, or always, against the
// program's verdicts on the values around it.
func TestLintConditions(t *testing.T) {
	values := []uint64{0, 1, 5, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 5, 1 << 63, 1<<64 - 1}
	found := map[string]int{}
	for _, call := range []string{"socket", "lseek"} { // socket's arguments are ints; lseek's second is 64 bits wide
		for _, op := range []string{"EQ", "NE", "GT", "GE", "LT", "LE", "MASKED_EQ"} {
			for _, value := range values {
				twos := values[:1]
				if op == "MASKED_EQ" {
					twos = values
				}
				for _, two := range twos {
					found[conditionFound(t, call, op, value, two)]++
				}
			}
		}
	}
	for _, id := range []string{"", "impossible-condition", "idle-condition"} {
		if found[id] < 10 {
			t.Errorf("only %d conditions are %q", found[id], id)
		}
	}
}

// conditionFound returns the finding that lint must have.
func conditionFound(t *testing.T, call, op string, value, two uint64) string {
	t.Helper()
	source := denying(fmt.Sprintf(`{"names": [%q], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": %d, "valueTwo": %d, "op": "SCMP_CMP_%s"}]}`, call, value, two, op))
	emu, _ := emulatorFor(t, source, amd64)
	met, unmet := false, false
	for _, v := range seccomptest.Boundaries(specs.LinuxSeccompArg{Op: specs.LinuxSeccompOperator("SCMP_CMP_" + op), Value: value, ValueTwo: two}) {
		if call == "socket" {
			v = uint64(uint32(v))
		}
		c, _ := bpf.NewCall(syscalls.AMD64, call, 0, v)
		if verdictFrom(t, emu, c).Passes() {
			met = true
		} else {
			unmet = true
		}
	}
	var want []string
	switch {
	case !met:
		want = []string{"impossible-condition"}
	case !unmet:
		want = []string{"idle-condition"}
	}
	if op == "MASKED_EQ" && two&^value != 0 {
		want = append([]string{"idle-condition"}, want...)
	}
	var got []string
	for _, f := range lint(t, source) {
		if f.Pos.Line == 4 {
			got = append(got, f.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s, %s %#x (%#x): found %v, want %v", call, op, value, two, got, want)
	}
	return strings.Join(want[:min(len(want), 1)], "")
}
