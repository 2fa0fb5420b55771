package seccomp

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/profiles"
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
		action EditAction
		text   string
		want   string
	}{
		{"allow", base, Allow, "mount", `{
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
		{"deny", base, Deny, "@chown", `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "kept"},
		{"names": ["write"], "action": "SCMP_ACT_ALLOW"}
	]
}
`},
		{"gate", base, Gate, "audit_control=write,fchown", `{
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
			"deny where all is open", open, Deny, "mount",
			`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names":["mount"],"action":"SCMP_ACT_ERRNO"}]}`,
		},
		{
			"deny where all is open, in lines", "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n", Deny, "mount", `{
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
			"gate where all is open", open, Gate, "SYS_ADMIN=mount",
			`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names":["mount"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}}]}`,
		},
		{
			"no list", `{"syscalls": null, "defaultAction": "SCMP_ACT_ERRNO"}`, Allow, "mount",
			`{"syscalls": [{"names":["mount"],"action":"SCMP_ACT_ALLOW"}], "defaultAction": "SCMP_ACT_ERRNO"}`,
		},
		{
			"an empty list", "{\n\t\"syscalls\": [\n\t],\n\t\"defaultAction\": \"SCMP_ACT_ERRNO\"\n}", Allow, "mount",
			"{\n\t\"syscalls\": [\n\t\t{\n\t\t\t\"names\": [\n\t\t\t\t\"mount\"\n\t\t\t],\n\t\t\t\"action\": \"SCMP_ACT_ALLOW\"\n\t\t}\n\t],\n\t\"defaultAction\": \"SCMP_ACT_ERRNO\"\n}",
		},
		{
			"the only rule", `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ {"name": "mount", "action": "SCMP_ACT_LOG"} ]}`, Deny, "mount",
			`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}`,
		},
		{
			"the only rule, by another", `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ {"name": "mount", "action": "SCMP_ACT_LOG"} ]}`, Allow, "mount",
			`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ {"names":["mount"],"action":"SCMP_ACT_ALLOW"} ]}`,
		},
		{
			"in one line", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["chown", "write"],"action":"SCMP_ACT_ALLOW"}]}`, Allow, "chown",
			`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["write"],"action":"SCMP_ACT_ALLOW"},{"names":["chown"],"action":"SCMP_ACT_ALLOW"}]}`,
		},
		{"allow where all is open", open, Allow, "mount", open},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse("base.json", []byte(tt.base))
			if err != nil {
				t.Fatal(err)
			}
			e, err := ParseEdit(tt.action, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Edit([]Edit{e})
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
	p, err := Parse("default.json", profiles.Default())
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
	got, err := p.Edit([]Edit{{Action: Deny, Names: all}})
	if err != nil {
		t.Fatal(err)
	}
	q, err := Parse("edited.json", got)
	if err != nil {
		t.Fatal(err)
	}
	if len(q.Rules) != 0 {
		t.Errorf("%d rules are left", len(q.Rules))
	}
}

func TestParseEditRefused(t *testing.T) {
	for _, tt := range []struct {
		action EditAction
		text   string
		hint   string
	}{
		{Allow, "chwon", "did you mean chown?"},
		{Allow, "@chwon", "did you mean @chown?"},
		{Gate, "chown", "write CAPABILITY=NAMES, for example CAP_AUDIT_CONTROL=@chown"},
		{Gate, "CAP_AUDIT_CONTRL=chown", "did you mean CAP_AUDIT_CONTROL?"},
	} {
		_, err := ParseEdit(tt.action, tt.text)
		var e *EditError
		if !errors.As(err, &e) || e.Hint() != tt.hint {
			t.Errorf("%s %s: got %v (%+v)", tt.action, tt.text, err, e)
		}
	}
	p, err := Parse("base.json", profiles.Default())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Edit([]Edit{{Action: Allow, Names: []string{"mount"}}, {Action: Deny, Names: []string{"mount"}}}); err == nil {
		t.Error("mount was both allowed and denied")
	}
}
