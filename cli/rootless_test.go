package cli

import (
	"os"
	"testing"

	"github.com/minirun/minirun/launcher/userns"
)

// A user's process enters its namespace before it has read the command line only without
// another verb or a limit. The lists of these in C are complete.
func TestPlainLaunches(t *testing.T) {
	t.Setenv(networkVariable, "")
	app := (&app{stdout: os.Stdout, stderr: os.Stderr}).newApp()
	for _, verb := range app.Commands {
		for _, name := range verb.Names() {
			if got := userns.PlainLaunch([]string{"minirun", name, "debian"}); got != (name == "run") {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	limits := 0
	for _, flag := range app.Command("run").Flags {
		if controllerOf(flag.Names()[0]) == "" && flag.Names()[0] != "cgroup-parent" {
			continue
		}
		limits++
		for _, name := range flag.Names() {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			if userns.PlainLaunch([]string{"minirun", "-t", dashes + name, "1", "debian"}) {
				t.Errorf("%s: true", name)
			}
		}
	}
	if limits < 10 {
		t.Errorf("there are %d flags of limits", limits)
	}
}
