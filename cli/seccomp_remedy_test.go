package cli

import (
	"os/exec"
	"testing"
)

// TestShellWord checks that a shell reads a quoted word as the original.
func TestShellWord(t *testing.T) {
	for _, text := range []string{"p.json", "/a b/p.json", "it's.json", "$HOME;`id`.json", "", "ü\n*.json"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellWord(text)).Output()
		if err != nil || string(out) != text {
			t.Errorf("%q is read as %q: %v", text, out, err)
		}
	}
	if got := shellWord("a/p-1.json"); got != "a/p-1.json" {
		t.Errorf("quoted for nothing: %s", got)
	}
}
