package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// inC is a call that is to be carried out before the Go runtime starts: that would print what
// it initialises (package runtime, "Environment Variables"). It returns what the call prints.
func (b *ociBundle) inC(args ...string) string {
	b.t.Helper()
	cmd := b.command("minirun", args...)
	cmd.Env = append(cmd.Environ(), "GODEBUG=inittrace=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		b.t.Fatalf("%s: %v: %s", args, err, errs.String())
	}
	return string(out)
}

// sameState compares what C and Go print of a container that is not paused. A flag has Go do it.
func (b *ociBundle) sameState(id string, want specs.ContainerState) {
	b.t.Helper()
	inC, inGo := b.inC("state", id), b.must("--debug", "state", id)
	if inC != inGo || !strings.Contains(inC, `"status": "`+string(want)+`"`) {
		b.t.Errorf("%s: in C %s\nin Go %s", want, inC, inGo)
	}
}

// ociQuick has C do what it does for a usual container, and Go what it does not.
func ociQuick(t *testing.T, root string) {
	b := newBundle(t, root, shell("trap 'echo hangup' HUP; echo ready; while :; do sleep 0.01; done"))
	output := b.create("quick")
	b.sameState("quick", specs.StateCreated)
	b.inC("--log", "log", "--log-format", "json", "start", "quick")
	if _, err := os.Stat(filepath.Join(b.dir, "log")); err != nil {
		t.Error(err)
	}
	waitFor(t, output, "ready")
	b.sameState("quick", specs.StateRunning)
	b.inC("kill", "quick", "HUP")
	waitFor(t, output, "hangup")
	b.refused(1, "that is not stopped: running", "delete", "quick")
	b.refused(1, "unknown signal", "kill", "quick", "NOSUCH")
	b.must("pause", "quick")
	if s := b.state("quick"); s.Status != "paused" {
		t.Errorf("%s, not paused", s.Status)
	}
	b.must("kill", "quick", "KILL") // thaws it
	for b.state("quick").Status != specs.StateStopped {
	}
	b.sameState("quick", specs.StateStopped)
	b.inC("delete", "quick")
	b.inC("delete", "--force", "quick")
	b.leavesNothing()
}

// leavesNothing reports an error if anything is left of the bundle's containers.
func (b *ociBundle) leavesNothing() {
	b.t.Helper()
	for _, dir := range []string{"containers", "libcontainer"} {
		entries, err := os.ReadDir(filepath.Join(b.root, dir))
		if err != nil || len(entries) > 0 {
			b.t.Errorf("left in %s: %v %v", dir, entries, err)
		}
	}
}

// ociQuickFails: when the start fails that C has begun, Go says why.
func ociQuickFails(t *testing.T, root string) {
	if err := os.WriteFile(filepath.Join(root, "noscript"), []byte("echo x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := newBundle(t, root, func(s *specs.Spec) { s.Process.Args = []string{"/noscript"} })
	b.create("fails")
	b.refused(1, "exec format error (hint: a script begins with a line that names its interpreter", "start", "fails")
	for b.state("fails").Status != specs.StateStopped {
	}
	b.refused(1, "cannot start a container that has stopped", "start", "fails")
	b.inC("delete", "fails")
	b.leavesNothing()
}

// ociHandOverFails: a create that fails at its last step leaves nothing, and the name is free.
func ociHandOverFails(t *testing.T, root string) {
	b := newBundle(t, root, func(s *specs.Spec) { s.Process.Args = []string{"true"} })
	if err := os.MkdirAll(filepath.Join(b.root, "libcontainer", "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.refused(1, "file exists", "create", "half")
	b.leavesNothing()
	b.create("half")
	b.must("delete", "--force", "half")
	b.leavesNothing()
}

// ociDeleteAgain: what a delete has left that was killed is removed by the next, or when
// another container is created.
func ociDeleteAgain(t *testing.T, root string) {
	steps := []string{"libcontainer/again", "containers/again/engine", "containers/again/state.json"}
	for i := range len(steps) + 1 {
		b := newBundle(t, root, func(s *specs.Spec) {
			s.Process.Args = []string{"true"}
			s.Linux.CgroupsPath = "/oci-test-again"
		})
		b.create("again")
		b.must("start", "again")
		for b.state("again").Status != specs.StateStopped {
		}
		for _, pattern := range []string{"/sys/fs/cgroup/oci-test-again", "/sys/fs/cgroup/*/oci-test-again"} {
			cgroups, err := filepath.Glob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, dir := range cgroups {
				_ = os.Remove(dir) // controllers share some
			}
		}
		for _, name := range steps[:i] {
			if err := os.RemoveAll(filepath.Join(b.root, name)); err != nil {
				t.Fatal(err)
			}
		}
		b.must("delete", "--force", "again")
		b.create("other")
		b.must("delete", "--force", "other")
		if left, _ := filepath.Glob(filepath.Join(b.root, "containers/*")); len(left) > 0 {
			t.Errorf("after %d steps: %v", i, left)
		}
	}
}
