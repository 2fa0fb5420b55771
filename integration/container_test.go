package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// minirun prepares a run with a runtime directory of the test's own.
func minirun(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(testBed.minirun, args...)
	cmd.Env = append(os.Environ(), "MINIRUN_RUN_ROOT="+filepath.Join(t.TempDir(), "run"))
	return cmd
}

// launched is a container whose command is running.
type launched struct {
	*exec.Cmd
	name   string
	cgroup string // its name
	stderr bytes.Buffer
	output io.Reader // what it writes after "ready"
	// pid1 is the container's PID 1, as the host numbers it.
	pid1 int
}

// containerName returns a name that neither another test nor another user of this
// machine has.
func containerName(t *testing.T) string {
	t.Helper()
	return strings.ToLower(strings.NewReplacer("/", "-", " ", "-", "#", "").Replace(t.Name())) + "-" + strconv.Itoa(os.Getpid())
}

// launch starts a container and returns when its command has said "ready" on
// its standard output.
func launch(t *testing.T, flags []string, command ...string) *launched {
	t.Helper()
	name := containerName(t)
	l := &launched{name: name}
	l.Cmd = minirun(t, append(append([]string{"--name", name}, flags...), append([]string{"debian"}, command...)...)...)
	l.Stderr = &l.stderr
	out, err := l.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Process.Kill() // it has ended, if all went well
		_ = l.Wait()
		if exists(filepath.Join(testBed.root, "containers", name)) { // not every test has its container end
			rm := exec.Command(testBed.minirun, "rm", "-f", name)
			rm.Env = l.Env
			run(t, rm)
		}
	})
	l.output = out
	said := make([]byte, len("ready"))
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "ready" {
		t.Fatalf("the command said %q (%v), want ready\n%s", said, err, &l.stderr)
	}
	l.pid1 = pid1(t, l.Process.Pid)
	cgroups, err := os.ReadFile("/proc/" + strconv.Itoa(l.pid1) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(cgroups), "\n")
	l.cgroup = filepath.Base(line)
	if dir := filepath.Join(testBed.root, "containers", name); !exists(dir) {
		t.Fatalf("a container that runs has no directory %s", dir)
	}
	return l
}

// pid1 finds the child of a launcher that is in a PID namespace of its own: the
// launcher has another, the guard.
func pid1(t *testing.T, launcher int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", launcher))
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, task := range tasks {
		pids, _ := os.ReadFile(task) // a thread that has ended
		for _, pid := range strings.Fields(string(pids)) {
			status, _ := os.ReadFile("/proc/" + pid + "/status")
			_, numbers, _ := strings.Cut(string(status), "\nNSpid:")
			line, _, _ := strings.Cut(numbers, "\n")
			if strings.HasSuffix(line, "\t1") {
				children = append(children, pid)
			}
		}
	}
	if len(children) != 1 {
		t.Fatalf("launcher %d has the children %v, want one", launcher, children)
	}
	pid, err := strconv.Atoi(children[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// eventually waits until ok, for up to ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// gone reports whether no process has the number, not even a zombie.
func gone(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return os.IsNotExist(err)
}

// wantNothingOf checks that a start that failed left nothing.
func wantNothingOf(t *testing.T, name string) {
	t.Helper()
	if left := of(name); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// of returns the leftovers of one container.
func of(name string) []string {
	var own []string
	for _, l := range leftovers() {
		if strings.Contains(l, name) {
			own = append(own, l)
		}
	}
	return own
}

func wantStatus(t *testing.T, cmd *exec.Cmd, want int) {
	t.Helper()
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("exit status %d, want %d", got, want)
	}
}
