package integration

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// userVariable says that the test binary runs scripts as an ordinary user.
const userVariable = "MINIRUN_INTEGRATION_USER"

// scripts runs TestScript once more, as this user.
func (u *ordinary) scripts(t *testing.T) {
	// The tree may be where only root can read.
	for _, copied := range []string{"testdata", testBed.profiles} {
		run(t, exec.Command("cp", "-r", copied, u.home))
	}
	run(t, exec.Command("chmod", "-R", "go+rX", u.home))
	cmd := u.command("/proc/self/exe", "-test.run=^TestScript$")
	cmd.Env = append(cmd.Env, userVariable+"=1", "MINIRUN_ROOT="+filepath.Join(u.home, ".local/share/minirun"), "PROFILES="+filepath.Join(u.home, "profiles"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
