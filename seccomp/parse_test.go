package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Keys that are clearly notes, and known keys in another case, are remarks. All other keys
// that Docker ignores are problems.
func TestParseRemarks(t *testing.T) {
	source, places := marked(`{
	»"_comment": ["a", {"b": 1}], »"description": "d", »"downloadedFrom": "https://example.com", »"$schema": "s",
	»"DefaultAction": "SCMP_ACT_ERRNO",
	"archMap": [{"architecture": "SCMP_ARCH_X86_64", »"subarchitectures": ["SCMP_ARCH_X86"]}],
	"syscalls": [
		{"names": ["read"], "action": "SCMP_ACT_ALLOW", »"_why": null, »"note": "n", "comment": "no remark",
			"args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ", »"_fd": "stdout"}]}
	]
}`)
	const remove = "remove it, or begin comments with _"
	want := []string{
		`unknown-key key "_comment" in the profile is a note: it has no effect; ` + remove,
		`unknown-key key "description" in the profile is a note: it has no effect; ` + remove,
		`unknown-key key "downloadedFrom" in the profile is a note: it has no effect; ` + remove,
		`unknown-key key "$schema" in the profile is a note: it has no effect; ` + remove,
		`key-case key "DefaultAction" is defaultAction to Docker; other readers pass over it; write defaultAction`,
		`key-case key "subarchitectures" is subArchitectures to Docker; other readers pass over it; write subArchitectures`,
		`unknown-key key "_why" in a rule is a note: it has no effect; ` + remove,
		`unknown-key key "note" in a rule is a note: it has no effect; ` + remove,
		`unknown-key key "_fd" in a condition is a note: it has no effect; ` + remove,
	}
	for i := range want {
		want[i] = places[i] + want[i]
	}
	p, err := Parse("p.json", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range p.Remarks {
		got = append(got, fmt.Sprintf("%s: %s %s; %s", r.Pos, r.ID, r.Message, r.Fix))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("remarks (-want +got):\n%s", diff)
	}
	if p.DefaultAction != specs.ActErrno || len(p.ArchMap[0].SubArchitectures) != 1 {
		t.Errorf("keys in another case are not read: %+v", p)
	}
}

// A file that is too large or nested too deeply is one problem, found quickly.
func TestParseLimits(t *testing.T) {
	big := []byte(`{"defaultAction": "SCMP_ACT_ALLOW", "_": "` + strings.Repeat("x", MaxSize) + `"}`)
	deep := `{"defaultAction": "SCMP_ACT_ALLOW", "_": ` + strings.Repeat("[", 200_000)
	resource := "kind: SeccompProfile\napiVersion: security-profiles-operator.x-k8s.io/v1\n"
	for name, tt := range map[string]struct{ source, want string }{
		"size":            {string(big), "the file is larger than the limit of 393216 bytes"},
		"depth":           {deep, "nested deeper than the limit of 100 levels"},
		"depth of YAML":   {resource + "spec: " + strings.Repeat("[", 101) + strings.Repeat("]", 101), "nested deeper than the limit of 100 levels"},
		"aliases of YAML": {resource + bomb(), "more values than the limit of 100000"},
	} {
		t.Run(name, func(t *testing.T) {
			got := complaints(t, tt.source)
			if len(got) != 1 || !strings.HasSuffix(got[0].message, tt.want) {
				t.Errorf("got %v, want %q", got, tt.want)
			}
		})
	}
}

// bomb is a value of 10^9 words in ten lines.
func bomb() string {
	text := "a0: &a0 [" + strings.Repeat("x,", 10) + "]\n"
	for i := range 9 {
		text += fmt.Sprintf("a%d: &a%[1]d [%s]\n", i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 10))
	}
	return text
}

// The text of a syntax error comes from the JSON library, the position from this package.
func TestParseSyntax(t *testing.T) {
	for _, source := range []string{
		"{\"defaultAction\":\n  »}",
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\"»", "{\"defaultAct»",
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\"}\n»{}",
		"{\n  »'defaultAction': 1}",
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"flags\": [»",
		"{\"defaultAction\": »SCMP_ACT_ALLOW}",
		"»// a comment\n{}",
	} {
		plain, places := marked(source)
		got := complaints(t, plain)
		want := places[0] + "not JSON: "
		if len(got) != 1 || !strings.HasPrefix(got[0].message, want) || len(got[0].message) == len(want) {
			t.Errorf("%q: got %q, want one complaint %q", source, got, want+"WHY")
		}
	}
	for _, blank := range []string{"", " \n\t\r\n"} {
		want := []complaint{{"p.json:1:1: the profile is empty", string(CauseEmpty)}}
		if diff := cmp.Diff(want, complaints(t, blank), cmp.AllowUnexported(complaint{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", blank, diff)
		}
	}
}

// An error of several problems has a line for each, with its fix. The text of a single problem
// leaves out the fix, which the caller shows.
func TestProblemsText(t *testing.T) {
	_, err := Parse("p.json", []byte("{\"defaultAction\": \"SCMP_ACT_ALOW\",\n \"flag\": []}"))
	const want = `p.json:1:19: unknown action "SCMP_ACT_ALOW" (did you mean SCMP_ACT_ALLOW?)
p.json:2:2: unknown key "flag" in the profile (did you mean flags?)`
	var problems Problems
	if !errors.As(err, &problems) || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	_, err = Parse("p.json", []byte(`{"defaultAction": "SCMP_ACT_ALOW"}`))
	if !errors.As(err, &problems) || err.Error() != `p.json:1:19: unknown action "SCMP_ACT_ALOW"` || problems[0].Fix != "did you mean SCMP_ACT_ALLOW?" {
		t.Errorf("got %v", err)
	}
}

func at(line, column int) Position { return Position{"p.json", line, column} }

func errno(v uint) *uint { return &v }

func TestParseAllFields(t *testing.T) {
	const source = `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
	"archMap": [
		{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
		{"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}
	],
	"flags": ["SECCOMP_FILTER_FLAG_LOG"],
	"listenerPath": "/run/l.sock", "listenerMetadata": "m",
	"syscalls": [
		{"names": ["socket", "to_come"], "action": "SCMP_ACT_NOTIFY", "comment": "c", "args": [
			{"index": 5, "value": 18446744073709551615, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
			"includes": {"caps": ["CAP_KILL"], "arches": ["amd64"], "minKernel": "4.8"},
			"excludes": {"caps": ["CAP_CHOWN"], "arches": ["x32"], "minKernel": "255.255"}},
		{"name": "clone3", "action": "SCMP_ACT_ERRNO", "errno": "EWOULDBLOCK", "args": null, "includes": {}, "excludes": null}
	]
}`
	p, err := Parse("p.json", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	want := &Profile{
		File: "p.json", Source: []byte(source),
		DefaultAction: specs.ActErrno, DefaultActionPos: at(2, 19), DefaultErrnoRet: errno(38),
		ArchMap: []ArchMap{
			{Name{"SCMP_ARCH_X86_64", at(5, 20)}, []Name{{"SCMP_ARCH_X86", at(5, 61)}}},
			{Name{"SCMP_ARCH_RISCV64", at(6, 20)}, []Name{}},
		},
		Flags:        []Name{{"SECCOMP_FILTER_FLAG_LOG", at(8, 12)}},
		ListenerPath: Name{"/run/l.sock", at(9, 18)}, ListenerMetadata: "m",
		Rules: []Rule{{
			Pos: at(11, 3), Names: []Name{{"socket", at(11, 14)}, {"to_come", at(11, 24)}},
			Action: specs.ActNotify, ActionPos: at(11, 46), Comment: "c",
			Args:     []Arg{{at(12, 4), 5, 1<<64 - 1, 2, specs.OpMaskedEqual}},
			Includes: Filter{[]Name{{"CAP_KILL", at(13, 26)}}, []Name{{"amd64", at(13, 50)}}, Name{"4.8", at(13, 73)}},
			Excludes: Filter{[]Name{{"CAP_CHOWN", at(14, 26)}}, []Name{{"x32", at(14, 51)}}, Name{"255.255", at(14, 72)}},
		}, {
			Pos: at(15, 3), Names: []Name{{"clone3", at(15, 12)}},
			Action: specs.ActErrno, ActionPos: at(15, 32), ErrnoRet: errno(11),
		}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// No flags field and an empty one differ; null is none.
func TestParseFlags(t *testing.T) {
	for flags, isNil := range map[string]bool{``: true, `, "flags": null`: true, `, "flags": []`: false} {
		p, err := Parse("p.json", []byte(`{"defaultAction": "SCMP_ACT_ALLOW"`+flags+`}`))
		if err != nil || (p.Flags == nil) != isNil || len(p.Flags) > 0 {
			t.Errorf("%q: flags %#v, %v", flags, p.Flags, err)
		}
	}
}

// The numbers are those of errno(3), which on all of minirun's machines but MIPS
// are asm-generic's.
func TestParseErrno(t *testing.T) {
	for name, want := range map[string]uint{
		"EPERM": 1, "EAGAIN": 11, "EWOULDBLOCK": 11, "EACCES": 13, "EINVAL": 22, "EDEADLK": 35, "EDEADLOCK": 35,
		"ENOSYS": 38, "EOPNOTSUPP": 95, "ENOTSUP": 95, "EHWPOISON": 133,
	} {
		source := fmt.Sprintf(`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": %q}`, name)
		p, err := Parse("p.json", []byte(source))
		if err != nil || p.DefaultErrnoRet == nil || *p.DefaultErrnoRet != want {
			t.Errorf("%s: got %+v, %v; want %d", name, p, err, want)
		}
	}
	p, err := Parse("p.json", []byte(`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": ""}`))
	if err != nil || p.DefaultErrnoRet != nil {
		t.Errorf("an empty name: %+v, %v; want none", p, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, data := range seccomptest.Sources(f) {
		f.Add(string(data))
	}
	for _, s := range []string{"", "{", "{}", "null", rule(`{"names": [1], "args": [{"index": 9}]}`), "{\"\\u0000\": \"\xff\"}"} {
		f.Add(s)
	}
	target := Target{Capabilities: []string{"CAP_SYS_ADMIN"}, Arch: syscalls.AMD64, Kernel: Kernel{5, 15}}
	f.Fuzz(func(t *testing.T, source string) {
		p, err := Parse("p.json", []byte(source))
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("%v is no Problems", err)
			}
			for _, problem := range problems {
				within(t, source, problem.Pos)
			}
			return
		}
		if !json.Valid([]byte(source)) && !isYAML([]byte(source)) {
			t.Error("accepted what encoding/json does not")
		}
		for _, r := range p.Rules {
			within(t, source, r.Pos)
			within(t, source, r.ActionPos)
		}
		policy, err := p.Resolve(target)
		if err != nil {
			t.Fatalf("Resolve: %v", err)
		}
		if len(policy.Decisions) != len(p.Rules) || len(policy.Origin) != len(policy.Seccomp.Syscalls) {
			t.Errorf("%d rules, %d decisions; %d calls, %d origins", len(p.Rules), len(policy.Decisions), len(policy.Seccomp.Syscalls), len(policy.Origin))
		}
	})
}

// within checks that a position is in the file; the end counts.
func within(t *testing.T, source string, p Position) {
	t.Helper()
	lines := strings.Split(source, "\n")
	if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1 {
		t.Errorf("%s is outside of the file", p)
	}
}
