package analyze

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// allowedFamilies reads Docker's profile by itself: its rules for socket are "less
// than" and "equal".
func allowedFamilies(t *testing.T) (allowed func(family uint64) bool) {
	t.Helper()
	var profile struct {
		Syscalls []struct {
			Names []string
			Args  []struct {
				Value uint64
				Op    string
			}
		}
	}
	if err := json.Unmarshal(profiles.Default(), &profile); err != nil {
		t.Fatal(err)
	}
	return func(family uint64) bool {
		for _, s := range profile.Syscalls {
			if !slices.Equal(s.Names, []string{"socket"}) || len(s.Args) != 1 {
				continue
			}
			if a := s.Args[0]; a.Op == "SCMP_CMP_EQ" && family == a.Value || a.Op == "SCMP_CMP_LT" && family < a.Value {
				return true
			}
		}
		return false
	}
}

// The short form of a long list names exactly those that are denied. The exact list stays.
func TestBrief(t *testing.T) {
	p, err := seccomp.Parse(profiles.DefaultName, profiles.Default())
	if err != nil {
		t.Fatal(err)
	}
	policy, err := p.Resolve(amd64)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewExplainer(policy)
	if err != nil {
		t.Fatal(err)
	}
	allowed := allowedFamilies(t)
	var denied []string
	for _, name := range syscalls.Choices(syscalls.AMD64, "socket", 0) {
		if v, _ := syscalls.Constant(syscalls.AMD64, "socket", 0, name); !allowed(v) {
			denied = append(denied, name)
		}
	}
	last := len(denied) - 1
	want := "any known family except " + strings.Join(denied[:last], ", ") + " and " + denied[last]
	for _, call := range []string{"socket", "socket(AF_VSOCK)"} {
		c, err := ParseCall(call, syscalls.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		x, err := e.Explain(c)
		if err != nil {
			t.Fatal(err)
		}
		brief, exact := "", ""
		if len(x.Cases) > 0 {
			brief, exact = x.Cases[0].Brief, x.Cases[0].When
		} else {
			brief, exact = x.Remedies[0].Brief, x.Remedies[0].Arguments
		}
		if brief != want || strings.Count(exact, " or ") < 20 {
			t.Errorf("%s: %q for %q, want %q", call, brief, exact, want)
		}
	}
	// There is no short form of short lists, of bits, or for two arguments.
	for _, call := range []string{"personality", "clone"} {
		x, err := e.Explain(CallPattern{Name: call})
		if err != nil {
			t.Fatal(err)
		}
		if len(x.Cases) == 0 || x.Cases[0].Brief != "" {
			t.Errorf("%s: %+v", call, x.Cases)
		}
	}
}
