package integration

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestKilledVerbs kills verbs that change the store at random moments, and others beside
// them. The store stays whole, its images start, and nothing is left in it.
func TestKilledVerbs(t *testing.T) {
	dir := t.TempDir()
	store, root := filepath.Join(dir, "store"), filepath.Join(dir, "root.tar")
	outputOf(t, exec.Command("tar", "-C", filepath.Dir(testBed.minirun), "-cf", root, filepath.Base(testBed.minirun)))
	minirun := func(args ...string) *exec.Cmd {
		return exec.Command(testBed.minirun, append([]string{"--root", store}, args...)...)
	}
	small, archive := smallRoot(t), filepath.Join(dir, "x.tar")
	outputOf(t, minirun("import", "-q", root, "base"))
	outputOf(t, minirun("import", "-q", small, "small"))
	outputOf(t, minirun("save", "-o", archive, "base", "small"))
	verbs := [][]string{
		{"load", "-q", "-i", archive},
		{"import", "-q", root, "new"},
		{"import", "-q", small},
		{"tag", "base", "other"},
		{"tag", "small", "other"},
		{"rmi", "-f", "other", "small", "new"},
		{"prune", "-f"},
		{"pull", "-q", "docker-archive:" + archive + ":small:latest"},
		{"save", "-o", filepath.Join(dir, "y.tar"), "base"},
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 12 {
		var running []*exec.Cmd
		for range 5 {
			cmd := minirun(verbs[random.IntN(len(verbs))]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			running = append(running, cmd)
			kill := time.AfterFunc(time.Duration(random.Int64N(int64(100*time.Millisecond))), func() { _ = cmd.Process.Kill() })
			defer kill.Stop()
		}
		for _, cmd := range running {
			var status *exec.ExitError
			if err := cmd.Wait(); err != nil && !errors.As(err, &status) {
				t.Fatal(err)
			}
		}
		if out, err := minirun("verify").CombinedOutput(); err != nil {
			t.Fatalf("round %d: %v: %s", round, err, out)
		}
		outputOf(t, minirun("base", "/"+filepath.Base(testBed.minirun), "version"))
	}
	outputOf(t, minirun("prune", "-f"))
	if left, err := os.ReadDir(filepath.Join(store, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	outputOf(t, minirun("load", "-q", "-i", archive))
	outputOf(t, minirun("verify"))
}
