package compile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// A program that is found without reading its profile is the one that was kept for just
// that text, those capabilities and that architecture, or none.
func TestShortcut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	program, err := compilePolicy(smallPolicy(t))
	if err != nil {
		t.Fatal(err)
	}
	shortcut := func(text string, arch syscalls.Arch, capabilities ...string) *Shortcut {
		s, err := NewShortcut(dir, []byte(text), arch, capabilities)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	kept := shortcut("text", syscalls.AMD64, "CAP_A", "CAP_B")
	if got := kept.Program(); got != nil {
		t.Fatalf("found before it was kept: %+v", got)
	}
	kept.Keep(program)
	if got := shortcut("text", syscalls.AMD64, "CAP_A", "CAP_B").Program(); !cmp.Equal(got, program) {
		t.Errorf("found %+v, want %+v", got, program)
	}
	for name, other := range map[string]*Shortcut{
		"text":         shortcut("Text", syscalls.AMD64, "CAP_A", "CAP_B"),
		"architecture": shortcut("text", syscalls.ARM64, "CAP_A", "CAP_B"),
		"capabilities": shortcut("text", syscalls.AMD64, "CAP_A"),
		"run together": shortcut("text", syscalls.AMD64, "CAP_ACAP_B"),
		"none":         nil,
	} {
		if got := other.Program(); got != nil {
			t.Errorf("another %s: found %+v", name, got)
		}
	}
	// It is trusted as the others are: TestCacheDamaged and TestCacheUntrusted.
	if err := os.Chmod(filepath.Join(dir, kept.name()), 0o620); err != nil {
		t.Fatal(err)
	}
	if got := kept.Program(); got != nil {
		t.Errorf("found in a file that others can write: %+v", got)
	}
	kept.Keep(program)
	if got := kept.Program(); got == nil {
		t.Error("not made anew")
	}
}
