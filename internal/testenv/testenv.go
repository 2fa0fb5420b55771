// Package testenv lets a test declare what it needs of the machine.
package testenv

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// CI reports whether tests run in continuous integration (the variable CI is
// set), where everything that tests need is installed, so nothing may be skipped.
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

// Root is Need for an effective user ID of 0.
func Root(t testing.TB) {
	t.Helper()
	Need(t, "root", os.Geteuid() == 0)
}

// Program is Need for one of the named programs. It returns the path of the first that
// is installed. `make deps` and `make docker-deps` install all that tests need.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Need(t, strings.Join(names, " or ")+" ('make deps' or 'make docker-deps' installs it)", false)
	return ""
}
