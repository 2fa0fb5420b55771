package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// However a launcher ends, nothing is left of its container.

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
		// A libc keeps the first real-time signals to itself, glibc two and musl three.
		"real-time":   {34, `trap 'exit 5' RTMIN; echo ready; while :; do sleep 0.01; done`, 5},
		"the last":    {64, `trap 'exit 4' RTMAX; echo ready; while :; do sleep 0.01; done`, 4},
		"with --init": {34, `trap 'exit 3' RTMIN; echo ready; while :; do sleep 0.01; done`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var flags []string
			if name == "with --init" {
				flags = []string{"--init"}
			}
			c := launch(t, flags, "bash", "-c", tt.script)
			if err := c.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			wantStatus(t, c.Cmd, tt.status)
			wantNothing(t, c)
		})
	}
}

// Signals have no default action for PID 1, so SIGTERM does not end a sleep, as with
// Docker; with --init the sleep is not PID 1, and ends.
func TestTerminatePID1(t *testing.T) {
	c := launch(t, nil, "perl", "-e", `$SIG{USR1} = sub { print "usr1\n"; exit 9 }; $| = 1; print "ready\n"; sleep 1 while 1`)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Signals are passed on in the order in which they come. The launcher has taken
	// the first before the second is sent, and PID 1 lives to handle that one.
	eventually(t, "the launcher takes SIGTERM", func() bool { return !pending(c.Process.Pid, syscall.SIGTERM) })
	if err := c.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.Cmd, 9)
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
	if left := of(c.cgroup); !strings.HasPrefix(c.cgroup, "minirun-") || len(left) > 0 {
		t.Errorf("left of %s: %q", c.cgroup, left)
	}
	if !gone(c.pid1) {
		t.Errorf("PID 1, %d, is still there", c.pid1)
	}
}

// After SIGKILL of the launcher the container ends, even if its PID 1 has cleared the
// parent-death signal. The next start removes the directory and the cgroup.
func TestKilledLauncher(t *testing.T) {
	const clear = "syscall(157, 1, 0, 0, 0, 0) == 0 or die $!;" // prctl(PR_SET_PDEATHSIG, 0), x86-64
	for name, tt := range map[string]struct {
		needs   string // GOARCH
		flags   []string
		command []string
		becomes string
	}{
		"shell":                    {"", nil, []string{"bash", "-c", "sleep 1000 & echo ready; wait"}, "bash"},
		"file capabilities":        {"", nil, []string{"bash", "-c", "echo ready; exec ping -i 100 127.0.0.1"}, "ping"},
		"parent-death signal off":  {"amd64", nil, []string{"perl", "-e", "$|=1; " + clear + `print "ready\n"; exec "sleep", "1000"`}, "sleep"},
		"other credentials":        {"", nil, []string{"perl", "-e", `$|=1; use POSIX; setgid(1); setuid(1); print "ready\n"; exec "sleep", "1000"`}, "sleep"},
		"signals ignored":          {"amd64", nil, []string{"perl", "-e", "$|=1; $SIG{$_}='IGNORE' for qw(HUP INT TERM); " + clear + `fork; print "ready\n"; exec "sleep", "1000"`}, "sleep"},
		"with --init and terminal": {"", []string{"--init", "-t"}, []string{"sh", "-c", "echo ready; exec sleep 1000"}, "minirun-init"},
		"stopped":                  {"amd64", nil, []string{"perl", "-e", "$|=1; " + clear + `print "ready\n"; exec "sleep", "1000"`}, "sleep"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.needs != "" && tt.needs != runtime.GOARCH {
				t.Skip("a number of this test is that of", tt.needs)
			}
			c := launch(t, tt.flags, tt.command...)
			becomes(t, c.pid1, tt.becomes)
			if name == "stopped" {
				if err := syscall.Kill(c.pid1, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			guard := guardOf(t, c.Process.Pid)
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait()
			eventually(t, "PID 1 dies with its launcher", func() bool { return gone(c.pid1) })
			eventually(t, "the guard ends", func() bool { return gone(guard) })
			for _, left := range of(c.name) {
				if strings.HasPrefix(left, "mount") {
					t.Error(left)
				}
			}
			if err := minirun(t, "debian", "true").Run(); err != nil {
				t.Fatal(err)
			}
			wantNothing(t, c)
		})
	}
}

// A launcher can be killed at any moment of a start: no process of the container is left,
// and the next start removes the rest. The moments are spread over the time that a start
// takes here.
func TestKilledStart(t *testing.T) {
	begin := time.Now()
	if err := minirun(t, "debian", "true").Run(); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begin)
	const moments = 30
	command := fmt.Sprintf("%d.%d", 1000000+os.Getpid(), time.Now().Nanosecond()) // so that its processes are found
	for i := range moments {
		name := containerName(t) + "-" + strconv.Itoa(i)
		cmd := minirun(t, "--name", name, "debian", "sleep", command)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(whole * time.Duration(i) / moments) // the moment is the test's input
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		eventually(t, "no process of the container is left", func() bool { return len(processesWith(command)) == 0 })
		if i%10 == 9 { // a start looks at 16 of them
			if err := minirun(t, "debian", "true").Run(); err != nil {
				t.Fatal(err)
			}
		}
		if i == moments-1 {
			wantNothingOf(t, name)
		}
	}
}

// processesWith returns the processes that have an argument.
func processesWith(argument string) (pids []string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		text, _ := os.ReadFile(line) // of a process that has ended
		if slices.Contains(strings.Split(string(text), "\x00"), argument) {
			pids = append(pids, filepath.Base(filepath.Dir(line)))
		}
	}
	return pids
}

// mappings returns the memory mappings of a process, by their addresses, with how much of each
// is of no file, in KiB (proc_pid_smaps(5)).
func mappings(t *testing.T, pid int) map[string]int {
	t.Helper()
	smaps, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps")
	if err != nil {
		t.Fatal(err)
	}
	kib := map[string]int{}
	var addresses string
	for line := range strings.Lines(string(smaps)) {
		fields := strings.Fields(line)
		switch {
		case !strings.HasSuffix(fields[0], ":"):
			addresses = fields[0]
		case fields[0] == "Anonymous:":
			if kib[addresses], err = strconv.Atoi(fields[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kib
}

// The guard has none of the user's descriptors, gets no signals from the terminal or for
// the launcher's process group, little of the memory of a launcher in Go, and ends with the
// container.
func TestGuard(t *testing.T) {
	c := launch(t, []string{"--init-by", "libcontainer"}, "sh", "-c", "echo ready; exec sleep 1000")
	guard := guardOf(t, c.Process.Pid)
	proc := "/proc/" + strconv.Itoa(guard)
	eventually(t, "the guard closes its files", func() bool {
		fds, err := os.ReadDir(proc + "/fd")
		return err == nil && len(fds) == 2
	})
	for _, fd := range []string{"0", "1"} {
		if to, err := os.Readlink(proc + "/fd/" + fd); err != nil || to != "anon_inode:[pidfd]" {
			t.Errorf("the guard's file %s is %s (%v)", fd, to, err)
		}
	}
	// The Go heap is the launcher's largest memory, and is in none of the guard's.
	in, left := mappings(t, guard), 0
	for addresses, kib := range mappings(t, c.Process.Pid) {
		if _, ok := in[addresses]; !ok {
			left = max(left, kib)
		}
	}
	if left < 256 {
		t.Errorf("of what the launcher has and the guard does not, the largest is %d KiB: the guard has its heap", left)
	}
	if group, err := syscall.Getpgid(guard); err != nil || group != guard {
		t.Errorf("the guard is in the process group %d (%v)", group, err)
	}
	if err := syscall.Kill(c.pid1, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.Cmd, 137)
	if !gone(guard) {
		t.Error("the guard is left")
	}
}

// guardOf finds a launcher's guard.
func guardOf(t *testing.T, launcher int) (pid int) {
	t.Helper()
	eventually(t, "there is a guard", func() bool {
		tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(launcher) + "/task/*/children")
		for _, task := range tasks {
			pids, _ := os.ReadFile(task) // a thread that has ended
			for _, child := range strings.Fields(string(pids)) {
				comm, _ := os.ReadFile("/proc/" + child + "/comm")
				if string(comm) == "minirun-guard\n" {
					pid, _ = strconv.Atoi(child)
				}
			}
		}
		return pid != 0
	})
	return pid
}

// A start that fails at any of its stages leaves nothing.
func TestFailedStart(t *testing.T) {
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args   []string
		status int
		want   string // what the message contains
	}{
		"image":       {[]string{"--pull", "never", "no/such:image"}, 125, "no/such:image: no such image"},
		"image path":  {[]string{"dir:/no/such"}, 125, "image dir:/no/such: lstat /no: no such file or directory"},
		"profile":     {[]string{"--seccomp", occupied, "debian", "true"}, 125, occupied + ":1:1: the profile is empty"},
		"user":        {[]string{"--user", "nosuch", "debian", "true"}, 125, "no matching entries in passwd file"},
		"capability":  {[]string{"--cap-add", "NOSUCH", "debian", "true"}, 125, "unknown capability"},
		"device":      {[]string{"--device", "/dev/nosuch", "debian", "true"}, 125, "/dev/nosuch: no such file or directory"},
		"mount":       {[]string{"--volume", occupied + ":/etc", "debian", "true"}, 125, " at /etc: not a directory"},
		"workdir":     {[]string{"--workdir", "/etc/passwd", "debian", "true"}, 125, "not a directory"},
		"command":     {[]string{"debian", "nosuch"}, 127, "run nosuch: executable file not found in $PATH"},
		"file limit":  {[]string{"--ulimit", "nofile=1:1", "debian", "true"}, 125, "--ulimit nofile=1:1: a start itself needs"},
		"tty":         {[]string{"-it", "debian", "true"}, 125, "stdin is not a terminal"},
		"cgroup name": {[]string{"--cgroup-manager", "nosuch", "debian", "true"}, 125, "--cgroup-manager nosuch: no such manager"},
	} {
		t.Run(name, func(t *testing.T) {
			container := containerName(t)
			cmd := minirun(t, append([]string{"--name", container}, tt.args...)...)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("it started")
			}
			if got := cmd.ProcessState.ExitCode(); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			line, _, _ := strings.Cut(string(out), "\n")
			if !strings.HasPrefix(line, "minirun: ") || !strings.Contains(line, tt.want) {
				t.Errorf("got %q, want `minirun: ...%s...`", out, tt.want)
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
