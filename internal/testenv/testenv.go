// Package testenv says what a test needs of the machine that it runs on.
package testenv

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// CI reports whether tests run in continuous integration (the variable CI is
// set), where whatever a test needs is installed, so that nothing may be skipped.
func CI() bool { return os.Getenv("CI") != "" }

// Need skips t, with the reason, unless the machine has what the test needs. In
// CI the test fails instead.
func Need(t testing.TB, what string, has bool) {
	t.Helper()
	switch {
	case has:
	case CI():
		t.Fatalf("needs %s, which CI should have", what)
	default:
		t.Skipf("needs %s", what)
	}
}

// Root needs an effective user ID of 0.
func Root(t testing.TB) {
	t.Helper()
	Need(t, "root", os.Geteuid() == 0)
}

// Program needs one of the named programs and returns the path of the first
// that is installed. `make deps` installs all that tests need.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Need(t, strings.Join(names, " or ")+" ('make deps' installs it)", false)
	return ""
}
