package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// In the background, what is reported at the end of the container is in its log when wait
// returns, and a container that is started again reports as it did before.
func TestExplainLog(t *testing.T) {
	record := filepath.Join(t.TempDir(), "p.json")
	for _, tt := range []struct {
		flags  []string
		report string
	}{
		{[]string{"--explain-filter"}, "minirun: denied: sethostname("},
		{[]string{"--explain-to", filepath.Join(t.TempDir(), "lines")}, "minirun: denied: sethostname("},
		{[]string{"--complain"}, "minirun: would be denied: sethostname("},
		{[]string{"--record", record}, "minirun: denied, and so not in it: sethostname\n"},
	} {
		t.Run(tt.flags[0], func(t *testing.T) {
			box := containerName(t)
			t.Cleanup(func() { _ = minirun(t, "rm", "-f", box).Run() })
			run := append(append([]string{"run", "-d", "--name", box}, tt.flags...), "debian", "hostname", "x") // its last deed is denied
			for times := range 2 {
				if out, err := minirun(t, run...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				says(t, 0, "1\n", "", "wait", box)
				_, logged, _ := output(minirun(t, "logs", box))
				if strings.Count(logged, tt.report) != times+1 {
					t.Errorf("after %d ends the log has %q", times+1, logged)
				}
				run = []string{"start", box}
			}
		})
	}
	if _, err := os.Stat(record); err != nil {
		t.Error(err)
	}
}
