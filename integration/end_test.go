package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A launcher's end, whatever it is, leaves nothing of its container.

func TestEndBySignal(t *testing.T) {
	for name, tt := range map[string]struct {
		signal syscall.Signal
		script string
		status int
	}{
		"handled":     {syscall.SIGTERM, `trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done`, 9},
		"user signal": {syscall.SIGUSR1, `trap 'exit 8' USR1; echo ready; while :; do sleep 0.01; done`, 8},
		"hangup":      {syscall.SIGHUP, `trap 'exit 7' HUP; echo ready; while :; do sleep 0.01; done`, 7},
		"interrupt":   {syscall.SIGINT, `trap 'exit 6' INT; echo ready; while :; do sleep 0.01; done`, 6},
	} {
		t.Run(name, func(t *testing.T) {
			c := launch(t, nil, "bash", "-c", tt.script)
			if err := c.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			wantStatus(t, c.Cmd, tt.status)
			wantNothing(t, c)
		})
	}
}

// PID 1 has no default for signals, so SIGTERM does nothing to a sleep, as
// under Docker; with --init the sleep is not PID 1 and dies of it.
func TestTerminatePID1(t *testing.T) {
	c := launch(t, nil, "bash", "-c", "echo ready; exec sleep 1000")
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The signal has come through once it is neither pending nor unread: the
	// next one, which nothing can resist, is behind it.
	if err := syscall.Kill(c.pid1, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.Cmd, 137)
	wantNothing(t, c)

	c = launch(t, []string{"--init"}, "bash", "-c", "echo ready; exec sleep 1000")
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.Cmd, 143)
	wantNothing(t, c)
}

func wantNothing(t *testing.T, c *launched) {
	t.Helper()
	wantNothingOf(t, c.name)
	if exists(c.state) {
		t.Errorf("left: %s", c.state)
	}
	if !gone(c.pid1) {
		t.Errorf("PID 1, %d, is still there", c.pid1)
	}
}

// After SIGKILL the kernel ends the container; folder and cgroup go with the
// next start.
func TestKilledLauncher(t *testing.T) {
	c := launch(t, nil, "bash", "-c", "sleep 1000 & echo ready; wait")
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	eventually(t, "PID 1 dies with its launcher", func() bool { return gone(c.pid1) })
	for _, left := range of(c.name) {
		if strings.HasPrefix(left, "mount") {
			t.Error(left)
		}
	}
	if err := minirun(t, "debian", "true").Run(); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, c)
}

// A program with file capabilities loses the parent-death signal at execve(2):
// then it is the next start that ends the container.
func TestKilledLauncherOfPrivilegedProgram(t *testing.T) {
	c := launch(t, nil, "bash", "-c", "echo ready; exec ping -i 100 127.0.0.1")
	eventually(t, "bash becomes ping", func() bool {
		comm, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.pid1), "comm"))
		return string(comm) == "ping\n"
	})
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if err := minirun(t, "debian", "true").Run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ping is gone", func() bool { return gone(c.pid1) })
	wantNothing(t, c)
}

// A start that fails at any of its stages leaves nothing.
func TestFailedStart(t *testing.T) {
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"image":       {"no/such:image"},
		"image path":  {"dir:/no/such"},
		"profile":     {"--seccomp", occupied, "debian", "true"},
		"user":        {"--user", "nosuch", "debian", "true"},
		"capability":  {"--cap-add", "NOSUCH", "debian", "true"},
		"device":      {"--device", "/dev/nosuch", "debian", "true"},
		"mount":       {"--volume", occupied + ":/etc", "debian", "true"},
		"workdir":     {"--workdir", "/etc/passwd", "debian", "true"},
		"command":     {"debian", "nosuch"},
		"memory":      {"--memory", "6m", "--ulimit", "nofile=1:1", "debian", "true"},
		"tty":         {"-it", "debian", "true"},
		"cgroup name": {"--cgroup-manager", "nosuch", "debian", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			container := containerName(t)
			cmd := minirun(t, append([]string{"--name", container}, args...)...)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("it started")
			}
			if got := cmd.ProcessState.ExitCode(); got != 125 && got != 127 {
				t.Errorf("status %d: %s", got, out)
			}
			if !strings.HasPrefix(string(out), "minirun: ") {
				t.Errorf("no message: %q", out)
			}
			wantNothingOf(t, container)
		})
	}
}

func TestNameInUse(t *testing.T) {
	c := launch(t, nil, "bash", "-c", "echo ready; exec sleep 1000")
	cmd := minirun(t, "--name", c.name, "debian", "true")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), "in use") {
		t.Errorf("got %v: %s", cmd.ProcessState, out)
	}
	if gone(c.pid1) {
		t.Error("the first container is gone")
	}
}
