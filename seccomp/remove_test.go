package seccomp_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/minirun/minirun/seccomp"
)

// TestFix of analyze checks removals and the layout. Here are a rule that loses its last name,
// and positions that are not in the text.
func TestRemove(t *testing.T) {
	const source = `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
{"names": ["read"], "action": "SCMP_ACT_ALLOW"},
{"names": ["write"], "action": "SCMP_ACT_ALLOW"}]}`
	at := func(line, column int) []seccomp.Position {
		return []seccomp.Position{{File: "p.json", Line: line, Column: column}}
	}
	got, err := seccomp.Remove("p.json", []byte(source), at(2, 12))
	if want := `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
{"names": ["write"], "action": "SCMP_ACT_ALLOW"}]}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	for _, places := range [][]seccomp.Position{at(0, 0), at(4, 1), at(2, 3), nil} {
		if got, err := seccomp.Remove("p.json", []byte(source), places); err == nil {
			t.Errorf("%v: got %s", places, got)
		}
	}
	const yaml = "apiVersion: security-profiles-operator.x-k8s.io/v1\nkind: SeccompProfile\nspec: {defaultAction: SCMP_ACT_ERRNO}\n"
	if _, err := seccomp.Remove("p.yaml", []byte(yaml), at(3, 8)); !errors.Is(err, seccomp.ErrYAML) {
		t.Errorf("YAML: %v", err)
	}
}

// Packages that do not need libseccomp do not import it indirectly.
func TestWithoutLibseccomp(t *testing.T) {
	deps, err := exec.Command("go", "list", "-deps", ".", "./bpf", "./live", "./syscalls").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(deps), "minirun/seccomp/bpf\n") || strings.Contains(string(deps), "libseccomp") {
		t.Errorf("imports are\n%s", deps)
	}
}
