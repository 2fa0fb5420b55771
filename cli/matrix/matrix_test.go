package matrix

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// gated has every kind of verdict on some call, a condition, and a gate.
const gated = `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{"names": ["acct"], "action": "SCMP_ACT_KILL_PROCESS"},
		{"names": ["bind"], "action": "SCMP_ACT_LOG"},
		{"names": ["chdir"], "action": "SCMP_ACT_TRAP"},
		{"names": ["dup"], "action": "SCMP_ACT_TRACE"},
		{"names": ["dup2"], "action": "SCMP_ACT_NOTIFY"},
		{"names": ["exit"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
		{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
		{"names": ["chown"], "action": "SCMP_ACT_ALLOW", "comment": "for auditors", "includes": {"caps": ["CAP_AUDIT_CONTROL"]}}
	]
}`

func newMatrix(t *testing.T, sources map[string]string, names ...string) *analyze.Matrix {
	t.Helper()
	var all []*seccomp.Profile
	for _, name := range names {
		p, err := seccomp.Parse(name, []byte(sources[name]))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	columns := []analyze.Column{{Name: "none"}, {Name: "with CAP_AUDIT_CONTROL", Capabilities: []string{"CAP_AUDIT_CONTROL"}}}
	m, err := analyze.NewMatrix(seccomp.Target{Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 1}}, columns, all...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func page1(t *testing.T) *analyze.Matrix {
	t.Helper()
	return newMatrix(t, map[string]string{"gated.json": gated}, "gated.json")
}

func page2(t *testing.T) *analyze.Matrix {
	t.Helper()
	sources := map[string]string{"default.json": string(profiles.Default()), "gated.json": gated}
	return newMatrix(t, sources, "default.json", "gated.json")
}

func html(t *testing.T, m *analyze.Matrix) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The page names no address but its own parts, and its policy allows none.
func TestStandsAlone(t *testing.T) {
	text := html(t, page2(t))
	if m := regexp.MustCompile(`(?i)\b(https?:|//[a-z]|src=|href=|@import|url\()`).FindString(text); m != "" {
		t.Errorf("the page refers to something else: %q", m)
	}
	want := `<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;; style-src &#39;sha256-`
	if !strings.Contains(text, want) {
		t.Errorf("no policy %q", want)
	}
}
