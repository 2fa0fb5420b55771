package seccomp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func TestEdit(t *testing.T) {
	const base = `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{"names": ["chown", "read",  "lchown"], "action": "SCMP_ACT_ALLOW", "comment": "kept"},
		{"names": ["fchown"], "action": "SCMP_ACT_ALLOW"},
		{"names": ["write"], "action": "SCMP_ACT_ALLOW"}
	]
}
`
	const open = `{"defaultAction": "SCMP_ACT_ALLOW"}`
	for _, tt := range []struct {
		name   string
		base   string
		action seccomp.EditAction
		text   string
		want   string
	}{
		{"allow", base, seccomp.Allow, "mount", `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{"names": ["chown", "read",  "lchown"], "action": "SCMP_ACT_ALLOW", "comment": "kept"},
		{"names": ["fchown"], "action": "SCMP_ACT_ALLOW"},
		{"names": ["write"], "action": "SCMP_ACT_ALLOW"},
		{
			"names": [
				"mount"
			],
			"action": "SCMP_ACT_ALLOW"
		}
	]
}
`},
		{"deny", base, seccomp.Deny, "@chown", `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "kept"},
		{"names": ["write"], "action": "SCMP_ACT_ALLOW"}
	]
}
`},
		{"gate", base, seccomp.Gate, "audit_control=write,fchown", `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{"names": ["chown", "read",  "lchown"], "action": "SCMP_ACT_ALLOW", "comment": "kept"},
		{
			"names": [
				"write",
				"fchown"
			],
			"action": "SCMP_ACT_ALLOW",
			"includes": {
				"caps": [
					"CAP_AUDIT_CONTROL"
				]
			}
		}
	]
}
`},
		{
			"deny where all is open", open, seccomp.Deny, "mount",
			`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names":["mount"],"action":"SCMP_ACT_ERRNO"}]}`,
		},
		{
			"deny where an agent decides", `{"defaultAction": "SCMP_ACT_NOTIFY"}`, seccomp.Deny, "mount",
			`{"defaultAction": "SCMP_ACT_NOTIFY", "syscalls": [{"names":["mount"],"action":"SCMP_ACT_ERRNO"}]}`,
		},
		{
			"deny where all is open, in lines", "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n", seccomp.Deny, "mount", `{
  "defaultAction": "SCMP_ACT_ALLOW",
  "syscalls": [
    {
      "names": [
        "mount"
      ],
      "action": "SCMP_ACT_ERRNO"
    }
  ]
}
`,
		},
		{
			"gate where all is open", open, seccomp.Gate, "SYS_ADMIN=mount",
			`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names":["mount"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}}]}`,
		},
		{
			"no list", `{"syscalls": null, "defaultAction": "SCMP_ACT_ERRNO"}`, seccomp.Allow, "mount",
			`{"syscalls": [{"names":["mount"],"action":"SCMP_ACT_ALLOW"}], "defaultAction": "SCMP_ACT_ERRNO"}`,
		},
		{
			"an empty list", "{\n\t\"syscalls\": [\n\t],\n\t\"defaultAction\": \"SCMP_ACT_ERRNO\"\n}", seccomp.Allow, "mount",
			"{\n\t\"syscalls\": [\n\t\t{\n\t\t\t\"names\": [\n\t\t\t\t\"mount\"\n\t\t\t],\n\t\t\t\"action\": \"SCMP_ACT_ALLOW\"\n\t\t}\n\t],\n\t\"defaultAction\": \"SCMP_ACT_ERRNO\"\n}",
		},
		{
			"the only rule", `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ {"name": "mount", "action": "SCMP_ACT_LOG"} ]}`, seccomp.Deny, "mount",
			`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}`,
		},
		{
			"the only rule, by another", `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ {"name": "mount", "action": "SCMP_ACT_LOG"} ]}`, seccomp.Allow, "mount",
			`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ {"names":["mount"],"action":"SCMP_ACT_ALLOW"} ]}`,
		},
		{
			"in one line", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["chown", "write"],"action":"SCMP_ACT_ALLOW"}]}`, seccomp.Allow, "chown",
			`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["write"],"action":"SCMP_ACT_ALLOW"},{"names":["chown"],"action":"SCMP_ACT_ALLOW"}]}`,
		},
		{"allow where all is open", open, seccomp.Allow, "mount", open},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := seccomp.Parse("base.json", []byte(tt.base))
			if err != nil {
				t.Fatal(err)
			}
			e, err := seccomp.ParseEdit(tt.action, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Edit([]seccomp.Edit{e})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Denying every call of the default profile leaves no name, whatever the order.
func TestEditRemovesAll(t *testing.T) {
	p, err := seccomp.Parse("default.json", profiles.Default())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range p.Rules {
		for _, n := range r.Names {
			if !slices.Contains(all, n.Value) {
				all = append(all, n.Value)
			}
		}
	}
	got, err := p.Edit([]seccomp.Edit{{Action: seccomp.Deny, Names: all}})
	if err != nil {
		t.Fatal(err)
	}
	q, err := seccomp.Parse("edited.json", got)
	if err != nil {
		t.Fatal(err)
	}
	if len(q.Rules) != 0 {
		t.Errorf("%d rules are left", len(q.Rules))
	}
}

func TestParseEditRefused(t *testing.T) {
	for _, tt := range []struct {
		action seccomp.EditAction
		text   string
		hint   string
	}{
		{seccomp.Allow, "chwon", "did you mean chown?"},
		{seccomp.Allow, "@chwon", "did you mean @chown?"},
		{seccomp.Gate, "chown", "write CAPABILITY=NAMES, for example CAP_AUDIT_CONTROL=@chown"},
		{seccomp.Gate, "CAP_AUDIT_CONTRL=chown", "did you mean CAP_AUDIT_CONTROL?"},
	} {
		_, err := seccomp.ParseEdit(tt.action, tt.text)
		var e *seccomp.EditError
		if !errors.As(err, &e) || e.Fix != tt.hint {
			t.Errorf("%s %s: got %v (%+v)", tt.action, tt.text, err, e)
		}
	}
	p, err := seccomp.Parse("base.json", profiles.Default())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Edit([]seccomp.Edit{{Action: seccomp.Allow, Names: []string{"mount"}}, {Action: seccomp.Deny, Names: []string{"mount"}}}); err == nil {
		t.Error("mount was both allowed and denied")
	}
}

// TestGuideRecipe checks the guide's use of jq, which removes a call from every rule and adds
// a new rule for it. For each call the result is a profile with the other rules unchanged.
func TestGuideRecipe(t *testing.T) {
	testenv.Program(t, "jq")
	base, err := seccomp.Parse(profiles.DefaultName, profiles.Default())
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]bool{}
	for _, r := range base.Rules {
		for _, n := range r.Names {
			calls[n.Value] = true
		}
	}
	names := slices.Sorted(maps.Keys(calls))
	// All profiles at once, since jq takes time to start.
	recipe := fmt.Sprintf(`. as $base | (%s)[] as $call | $base | .syscalls[].names -= [$call] |
		.syscalls += [{names: [$call], action: "SCMP_ACT_ALLOW", includes: {caps: ["CAP_AUDIT_CONTROL"]}}]`, quotedList(names))
	jq := exec.Command("jq", "-c", recipe)
	jq.Stdin = bytes.NewReader(profiles.Default())
	out, err := jq.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(lines) != len(names) || len(names) < 400 {
		t.Fatalf("%d profiles for %d calls", len(lines), len(names))
	}
	for i, line := range lines {
		p, err := seccomp.Parse("first.json", line)
		if err != nil {
			t.Errorf("%s: %v", names[i], err)
			continue
		}
		policy, err := p.Resolve(seccomp.Target{Capabilities: []string{"CAP_CHOWN", "CAP_KILL"}, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range policy.Seccomp.Syscalls {
			if len(s.Names) == 0 || slices.Contains(s.Names, names[i]) {
				t.Errorf("%s: a rule is left with %q", names[i], s.Names)
			}
		}
	}
}

func quotedList(names []string) string {
	text, _ := json.Marshal(names)
	return string(text)
}

func mustParse(t *testing.T, source string) *seccomp.Profile {
	t.Helper()
	p, err := seccomp.Parse("p.json", []byte(source))
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	return p
}
