package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The table fails for a test that failed on one machine, and for one that ran on none.
func TestTable(t *testing.T) {
	const (
		pass = "--- PASS: TestA (0.00s)\n"
		fail = "--- FAIL: TestA (0.00s)\n"
		skip = "--- SKIP: TestA (0.00s)\n"
		sub  = "    --- PASS: TestB/deep (0.00s)\n"
	)
	for name, tt := range map[string]struct {
		host, guest string
		want        string
		status      int
	}{
		"all pass":      {pass, pass, "test   host  guest\nTestA  pass  pass \n", 0},
		"skipped once":  {skip, pass, "test   host  guest\nTestA  skip  pass \n", 0},
		"skipped twice": {skip, skip, "test   host  guest\nTestA  skip  skip   RAN NOWHERE\n", 1},
		"failed once":   {pass, fail, "test   host  guest\nTestA  pass  fail   FAILED\n", 1},
		"unknown there": {pass, sub, "test        host  guest\nTestA       pass  -    \nTestB/deep  -     pass \n", 0},
		"no guest":      {pass, "", "test   host  guest\nTestA  pass  -    \n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("./table.sh")
			dir := t.TempDir()
			for name, text := range map[string]string{"host": tt.host, "guest": tt.guest} {
				if err := os.WriteFile(filepath.Join(dir, name+".log"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd.Args = append(cmd.Args, filepath.Join(dir, "host.log"), filepath.Join(dir, "guest.log"))
			out, _ := cmd.Output()
			if got := cmd.ProcessState.ExitCode(); got != tt.status || string(out) != tt.want {
				t.Errorf("status %d, want %d; got\n%swant\n%s", got, tt.status, out, tt.want)
			}
		})
	}
}
