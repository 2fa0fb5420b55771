package seccomp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// written is one profile in all forms, with marks at its default action, its rule,
// the rule's second name, its action and its condition.
var written = map[string]string{
	"docker": `{
	"defaultAction": »"SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "flags": [],
	"architectures": ["SCMP_ARCH_X86_64"],
	"syscalls": [»{"names": ["read", »"größe"], "action": »"SCMP_ACT_ALLOW", "args": [»{"index": 1, "value": 18446744073709551615, "op": "SCMP_CMP_NE"}]}]
}`,
	"configuration": `{"ociVersion": "1.2.0", "process": {"args": ["sh"], "names": []}, "linux": {"namespaces": [], "seccomp": {
	"defaultAction": »"SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "flags": [],
	"architectures": ["SCMP_ARCH_X86_64"],
	"syscalls": [»{"names": ["read", »"größe"], "action": »"SCMP_ACT_ALLOW", "args": [»{"index": 1, "value": 18446744073709551615, "op": "SCMP_CMP_NE"}]}]
}}}`,
	"configuration without a version": `{"linux": {"seccomp": {
	"defaultAction": »"SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "flags": [], "architectures": ["SCMP_ARCH_X86_64"],
	"syscalls": [»{"names": ["read", »"größe"], "action": »"SCMP_ACT_ALLOW", "args": [»{"index": 1, "value": 18446744073709551615, "op": "SCMP_CMP_NE"}]}]}}}`,
	"resource in JSON": `{"apiVersion": "security-profiles-operator.x-k8s.io/v1", "kind": "SeccompProfile", "metadata": {"name": "x"}, "spec": {
	"state": "Enabled", "defaultAction": »"SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "flags": [], "architectures": ["SCMP_ARCH_X86_64"],
	"syscalls": [»{"names": ["read", »"größe"], "action": »"SCMP_ACT_ALLOW", "args": [»{"index": 1, "value": 18446744073709551615, "op": "SCMP_CMP_NE"}]}]}}`,
	"resource in YAML": `# a comment
apiVersion: security-profiles-operator.x-k8s.io/v1beta1
kind: SeccompProfile
metadata:
  name: größe
spec:
  baseProfileName: ""
  defaultAction: »SCMP_ACT_ERRNO # ü
  defaultErrnoRet: 0x26
  flags: []
  architectures: [SCMP_ARCH_X86_64]
  syscalls:
  - »names:
    - read
    - »'größe'
    action: »"SCMP_ACT_ALLOW"
    args: [ »{index: 1, value: 18446744073709551615, op: SCMP_CMP_NE} ]
`,
	"one of several documents, with Windows' line ends": strings.ReplaceAll(`---
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
spec:
    syscalls:
      - »action: »SCMP_ACT_ALLOW
        args: &args
          - »index: 1
            value: 18446744073709551615
            op: |-
              SCMP_CMP_NE
        names: [read, »größe]
    defaultAction: »>-
      SCMP_ACT_ERRNO
    defaultErrnoRet: &n 38
    flags:
      []
    architectures:
      - SCMP_ARCH_X86_64
kind: SeccompProfile
apiVersion: security-profiles-operator.x-k8s.io/v1
---
`, "\n", "\r\n"),
	"the only item of a list": `apiVersion: v1
kind: List
items:
- apiVersion: security-profiles-operator.x-k8s.io/v1beta1
  kind: SeccompProfile
  x-index: &index 1
  spec: {defaultAction: »SCMP_ACT_ERRNO, defaultErrnoRet: 38, flags: [], architectures: [SCMP_ARCH_X86_64],
    syscalls: [»{names: [read, »größe], "action":»SCMP_ACT_ALLOW, args: [»{index: *index, value: 18446744073709551615, op: SCMP_CMP_NE}]}]}
`,
}

// Each form is read as the same profile, with positions in its own text.
func TestForms(t *testing.T) {
	want := &Profile{
		File: "p.json", DefaultAction: specs.ActErrno, DefaultErrnoRet: errno(38), Flags: []Name{}, Architectures: []Name{{Value: "SCMP_ARCH_X86_64"}},
		Rules: []Rule{{
			Names: []Name{{Value: "read"}, {Value: "größe"}}, Action: specs.ActAllow,
			Args: []Arg{{Index: 1, Value: 1<<64 - 1, Op: specs.OpNotEqual}},
		}},
	}
	for name, text := range written {
		t.Run(name, func(t *testing.T) {
			source, places := marked(text)
			p, err := Parse("p.json", []byte(source))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, p, cmpopts.IgnoreTypes(Position{}), cmpopts.IgnoreFields(Profile{}, "Source")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			r := p.Rules[0]
			for what, pos := range map[string]Position{"the default action": p.DefaultActionPos, "the rule": r.Pos, "the name": r.Names[1].Pos, "the action": r.ActionPos, "the condition": r.Args[0].Pos} {
				i := map[string]int{"the default action": 0, "the rule": 1, "the name": 2, "the action": 3, "the condition": 4}[what]
				if strings.HasPrefix(name, "one of") {
					i = map[string]int{"the default action": 4, "the rule": 0, "the name": 3, "the action": 1, "the condition": 2}[what]
				}
				if got := pos.String() + ": "; got != places[i] {
					t.Errorf("%s is at %s, want %s", what, got, places[i])
				}
			}
		})
	}
}

const resourceHead = "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\n"

func TestFormComplaints(t *testing.T) {
	const overlooked = string(CauseDockerKey)
	for name, tt := range map[string]struct {
		source string
		want   []complaint
	}{
		"a configuration without a filter": {`»{"ociVersion": "1.0.2", "linux": {}}`, []complaint{
			{"the configuration has no linux.seccomp: its container has no filter", string(CauseNoFilter)},
		}},
		"a configuration with two": {`{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}, »"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`, []complaint{
			{`duplicate key "seccomp"`, "remove one of the two"},
		}},
		"a configuration with two in any case": {`{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}, »"Linux": {}}`, []complaint{
			{`duplicate key "Linux"`, "remove one of the two"},
		}},
		"what a runtime overlooks": {
			`{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", »"defaultErrno": "ENOSYS", »"archMap": [], »"DefaultErrnoRet": 1, "syscalls": [
	{"names": ["read"], »"name": "", "action": "SCMP_ACT_ERRNO", »"errno": "ENOSYS", "comment": "fine", "_note": "fine", »"includes": {"caps": ["CAP_KILL"]}, »"excludes": {}}]}}}`,
			[]complaint{
				{`"defaultErrno" in the profile: a runtime overlooks it, only Docker's format has it`, overlooked},
				{`"archMap" in the profile: a runtime overlooks it, only Docker's format has it`, overlooked},
				{`unknown key "DefaultErrnoRet" in the profile`, "did you mean defaultErrnoRet?"},
				{`"name" in a rule: a runtime overlooks it, only Docker's format has it`, overlooked},
				{`"errno" in a rule: a runtime overlooks it, only Docker's format has it`, overlooked},
				{`"includes" in a rule: a runtime overlooks it, only Docker's format has it`, overlooked},
				{`"excludes" in a rule: a runtime overlooks it, only Docker's format has it`, overlooked},
			},
		},
		"a base": {resourceHead + "spec:\n  defaultAction: SCMP_ACT_ERRNO\n  baseProfileName: »runc-v1.4.2\n", []complaint{{
			`baseProfileName "runc-v1.4.2": the operator adds the rules of that profile, which are not in this file`,
			"copy the rules of that profile into this one, and remove baseProfileName",
		}}},
		"misspelt words": {resourceHead + "spec:\n  defaultAction: »SCMP_ACT_ERNO\n  syscalls:\n  - names: [read]\n    »acton: SCMP_ACT_ALLOW\n    action: »SCMP_ACT_ALOW\n", []complaint{
			{`unknown action "SCMP_ACT_ERNO"`, "did you mean SCMP_ACT_ERRNO?"},
			{`unknown key "acton" in a rule`, "did you mean action?"},
			{`unknown action "SCMP_ACT_ALOW"`, "did you mean SCMP_ACT_ALLOW?"},
		}},
		"wrong types": {resourceHead + "spec:\n  defaultAction:\n    »- x\n  flags: »no\n  syscalls:\n  - names: [»1, »true, »~]\n    action: SCMP_ACT_ALLOW\n    errnoRet: »\"1\"\n", []complaint{
			{"action must be a string", ""},
			{"flag list must be a list", ""},
			{"a system call's name must be a string", ""},
			{"a system call's name must be a string", ""},
			{"a system call's name must be a string", ""},
			{"errnoRet must be a number", ""},
		}},
		"no spec":         {"»" + resourceHead, []complaint{{"the SeccompProfile has no spec", ""}}},
		"another kind":    {"»apiVersion: v1\nkind: Pod\nspec: {}\n", []complaint{{`the file has no SeccompProfile, only "Pod"`, "its apiVersion is security-profiles-operator.x-k8s.io/v1 or v1beta1"}}},
		"another group":   {`»{"apiVersion": "example.com/v1", "kind": "SeccompProfile"}`, []complaint{{`the file has no SeccompProfile, only "SeccompProfile"`, "its apiVersion is security-profiles-operator.x-k8s.io/v1 or v1beta1"}}},
		"several of them": {resourceHead + "metadata: {name: a}\n---\n»" + resourceHead + "metadata: {name: b}\n", []complaint{{`the file has 2 SeccompProfiles: "a", "b"`, "put the one that is meant in a file of its own"}}},
		"a duplicate key": {resourceHead + "spec:\n  defaultAction: SCMP_ACT_ERRNO\n  »defaultAction: SCMP_ACT_ALLOW\n", []complaint{{`duplicate key "defaultAction"`, "remove one of the two"}}},
		"a merge key":     {resourceHead + "spec:\n  »<<: {}\n", []complaint{{"not YAML: mergekey: not supported in a profile", ""}}},
		"a tag":           {resourceHead + "spec: »!!binary x\n", []complaint{{"not YAML: tag: not supported in a profile", ""}}},
		"no anchor":       {resourceHead + "spec: *»x\n", []complaint{{`not YAML: there is no anchor "x" before it`, ""}}},
		"a loop":          {resourceHead + "spec: &x [*»x]\n", []complaint{{`not YAML: there is no anchor "x" before it`, ""}}},
		"YAML of another": {"»defaultAction: SCMP_ACT_ERRNO\n", []complaint{{"not JSON: invalid character 'd' at start of value", "of YAML only a SeccompProfile of Kubernetes is read, with its apiVersion and kind"}}},
	} {
		t.Run(name, func(t *testing.T) {
			checkComplaints(t, tt.source, tt.want)
		})
	}
}

// An edit keeps the form; YAML becomes JSON. A gate needs Docker's format.
func TestFormsEdit(t *testing.T) {
	for name, text := range written {
		t.Run(name, func(t *testing.T) {
			source, _ := marked(text)
			p, err := Parse("p.json", []byte(source))
			if err != nil {
				t.Fatal(err)
			}
			edited, err := p.Edit([]Edit{{Action: Allow, Names: []string{"chown"}}, {Action: Deny, Names: []string{"read"}}})
			if err != nil {
				t.Fatal(err)
			}
			after, err := Parse("p.json", edited)
			if err != nil {
				t.Fatalf("%v\n%s", err, edited)
			}
			if len(after.Rules) != 2 || len(after.Rules[0].Names) != 1 || after.Rules[1].Names[0].Value != "chown" {
				t.Errorf("the rules are %+v\n%s", after.Rules, edited)
			}
			_, err = p.Edit([]Edit{{Action: Gate, Capability: "CAP_KILL", Names: []string{"chown"}}})
			if name == "docker" && err != nil || name != "docker" && !errors.Is(err, ErrFlatGate) {
				t.Errorf("a gate: %v", err)
			}
		})
	}
}

// An added rule has the layout of the others.
func TestFormsEditLayout(t *testing.T) {
	const source = `{
  "linux": {
    "seccomp": {
      "defaultAction": "SCMP_ACT_ERRNO",
      "syscalls": [
        {
          "names": [
            "read"
          ],
          "action": "SCMP_ACT_ALLOW"
        }
      ]
    },
    "x": 1
  }
}
`
	p, err := Parse("p.json", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	edited, err := p.Edit([]Edit{{Action: Allow, Names: []string{"chown"}}})
	if err != nil {
		t.Fatal(err)
	}
	rule := source[strings.Index(source, "        {"):strings.Index(source, "\n      ]")]
	want := strings.Replace(source, rule, rule+",\n"+strings.Replace(rule, "read", "chown", 1), 1)
	if diff := cmp.Diff(want, string(edited)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Edit and Remove find keys in any case, as Parse does.
func TestEditKeyCase(t *testing.T) {
	const source = `{"DefaultAction": "SCMP_ACT_ERRNO", "Syscalls": [{"Names": ["chown", "read"], "Action": "SCMP_ACT_ALLOW"}, {"NAME": "mount", "action": "SCMP_ACT_ALLOW"}, {"Names": [], "action": "SCMP_ACT_ALLOW"}]}`
	p, err := Parse("p.json", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	edited, err := p.Edit([]Edit{{Action: Deny, Names: []string{"chown", "mount"}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"DefaultAction": "SCMP_ACT_ERRNO", "Syscalls": [{"Names": ["read"], "Action": "SCMP_ACT_ALLOW"}, {"Names": [], "action": "SCMP_ACT_ALLOW"}]}`
	if string(edited) != want {
		t.Errorf("edited: %s", edited)
	}
	places := []Position{mustParse(t, string(edited)).Rules[1].Pos}
	fixed, err := Remove("p.json", edited, places)
	if err != nil || string(fixed) != strings.Replace(want, `, {"Names": [], "action": "SCMP_ACT_ALLOW"}`, "", 1) {
		t.Errorf("fixed: %s, %v", fixed, err)
	}
}

// FuzzYAML checks that no text makes the library or the reader panic, take long, or return
// positions outside of the file.
func FuzzYAML(f *testing.F) {
	for _, text := range written {
		source, _ := marked(text)
		f.Add(source)
	}
	for _, text := range []string{"spec: &x [*x]\n", "spec: {a: !!str 1, ? b : <<}\n", "---\n...\n%YAML 1.2\n---\n", "spec: |+2\n   x\n", "- \t-\n", bomb()} {
		f.Add(resourceHead + text)
	}
	f.Fuzz(func(t *testing.T, source string) {
		l := newLines("p.yaml", []byte(source))
		roots, err := parseYAML(l, []byte(source))
		if err != nil {
			within(t, source, l.at(err.offset))
		}
		for _, root := range roots {
			walk(root, func(n *node) { within(t, source, l.at(n.offset)) })
			if again, err := parseJSON(root.appendJSON(nil)); err != nil || !sameValue(root, again) {
				t.Errorf("%s: as JSON it is another value: %v", root.appendJSON(nil), err)
			}
		}
	})
}

func walk(n *node, visit func(*node)) {
	visit(n)
	for _, item := range n.items {
		walk(item, visit)
	}
	for _, f := range n.fields {
		walk(f.name, visit)
		walk(f.value, visit)
	}
}

func sameValue(a, b *node) bool {
	one, other := "", ""
	walk(a, func(n *node) {
		one += fmt.Sprintf("%c %s %d %d\n", n.kind, strings.ToValidUTF8(n.text, "\ufffd"), len(n.items), len(n.fields))
	})
	walk(b, func(n *node) { other += fmt.Sprintf("%c %s %d %d\n", n.kind, n.text, len(n.items), len(n.fields)) })
	return one == other
}

func mustParse(t *testing.T, source string) *Profile {
	t.Helper()
	p, err := Parse("p.json", []byte(source))
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	return p
}
