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

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// testProgram builds a program of testdata/observe, static, and returns a directory with it.
func testProgram(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, name)
	if built(t, program) {
		return dir
	}
	out, err := exec.Command(testenv.Program(t, "gcc"), "-O1", "-Wall", "-static", "-o", program, filepath.Join("testdata", "observe", name+".c")).CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return dir
}

// built copies a program that was built for a machine without compilers, and reports false on
// others.
func built(t *testing.T, program string) bool {
	t.Helper()
	dir := os.Getenv("MINIRUN_TEST_PROGRAMS")
	if dir == "" {
		return false
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.Base(program)))
	if err == nil {
		err = os.WriteFile(program, data, 0o755) //nolint:gosec // a command
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// explained runs a command in a container and returns what both streams got.
func explained(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return output(minirun(t, args...))
}

func output(cmd *exec.Cmd) (stdout, stderr string, status int) {
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run()
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// With BPF --explain leaves the filter as it is; without, minirun is its listener.
func withAndWithoutBPF(t *testing.T, test func(t *testing.T, bpf bool, run func(t *testing.T, args ...string) *exec.Cmd)) {
	t.Run("BPF", func(t *testing.T) {
		needTracing(t)
		test(t, true, minirun)
	})
	t.Run("listener", func(t *testing.T) { test(t, false, blind) })
}

func TestExplainLive(t *testing.T) {
	needTracing(t) // without it there is a warning
	command := []string{"debian", "mount", "-t", "tmpfs", "none", "/mnt"}
	_, plain, want := explained(t, command...)
	_, stderr, status := explained(t, append([]string{"--explain"}, command...)...)
	if status != want || want == 0 || !strings.Contains(stderr, plain) {
		t.Errorf("status %d, want %d; %s", status, want, stderr)
	}
	report := strings.ReplaceAll(stderr, plain, "")
	const text = `minirun: denied: mount("none", "/mnt", "tmpfs", 0, NULL) by mount (PID 1): ERRNO(EPERM)
  rules name it, but none of them applies: the default action  (default.json:2:19)
  to allow it  --cap-add CAP_SYS_ADMIN  (default.json:984:3)
               minirun seccomp edit --allow mount
`
	if report != text {
		t.Errorf("%q", report)
	}
	cmd := minirun(t, "debian", "mount", "-t", "tmpfs", "none", "/mnt")
	cmd.Env = append(cmd.Env, "MINIRUN_EXPLAIN=1")
	if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), "minirun: denied: mount(") {
		t.Errorf("MINIRUN_EXPLAIN=1: %s", out)
	}
	edited := []string{"--explain", "--seccomp-deny", "@chown"} // by flags: there is no file to edit
	if _, stderr, _ := explained(t, append(edited, "debian", "hostname", "web")...); !strings.Contains(stderr, " --seccomp-allow sethostname\n") {
		t.Errorf("%s", stderr)
	}
	if _, stderr, _ := explained(t, append(edited, "--seccomp-allow", "sethostname", "debian", "hostname", "web")...); strings.Contains(stderr, "ERRNO(") { // the kernel asks for a capability, too
		t.Errorf("the remedy does not help: %s", stderr)
	}
	// What other families there are is no help.
	if _, stderr, _ := explained(t, "--explain", "debian", "perl", "-MSocket", "-e", "socket(S, 40, SOCK_STREAM, 0)"); !strings.Contains(stderr, "denied: socket(AF_VSOCK, ") || strings.Contains(stderr, "AF_INET") {
		t.Errorf("%s", stderr)
	}
	if _, stderr, status := explained(t, "--explain", "debian", "true"); stderr != "" || status != 0 {
		t.Errorf("nothing was denied: %q", stderr)
	}
}

// With --explain-filter nothing is attached, what the filter denies is reported, and what the
// kernel refuses is not.
func TestExplainFilter(t *testing.T) {
	l := launch(t, []string{"--explain-filter"}, "sh", "-c", "hostname x; chown 1 /proc/1/maps; echo ready; exec sleep 1000")
	if links := attachedBy(l.Process.Pid); len(links) > 0 {
		t.Errorf("programs are attached: %v", links)
	}
	_ = unix.Kill(l.pid1, unix.SIGKILL)
	_ = l.Wait()
	_, stderr, _ := explained(t, "--explain-filter", "debian", "sh", "-c", "hostname x; chown 1 /proc/1/maps")
	if strings.Count(stderr, "minirun: denied: ") != 1 || !strings.Contains(stderr, "minirun: denied: sethostname(") {
		t.Errorf("%s", stderr)
	}
}

func TestExplainRepeated(t *testing.T) {
	dir := testProgram(t, "repeat")
	for _, flag := range []string{"--explain", "--explain-filter"} {
		_, stderr, status := explained(t, flag, "-v", dir+":/p:ro", "debian", "/p/repeat", "100000")
		if status != 0 || len(stderr) > 1024 || strings.Count(stderr, "minirun: denied:") != 1 || !strings.Contains(stderr, "minirun: 100000 times in all: acct by repeat\n") {
			t.Errorf("%s: status %d: %s", flag, status, stderr)
		}
	}
}

// A signal does not change the error of a denied call, if its handler lets calls go on; and the
// end of the handler, which restores the caller's registers, is no call that fails.
func TestExplainSignals(t *testing.T) {
	dir := testProgram(t, "signals")
	for _, flag := range []string{"--explain", "--explain-filter"} {
		stdout, stderr, status := explained(t, flag, "-v", dir+":/p:ro", "debian", "/p/signals")
		if stdout != "0 other\n" || status != 0 || strings.Count(stderr, "denied:") != 1 || strings.Contains(stderr, "ENOSYS") {
			t.Errorf("%s: status %d: %s%s", flag, status, stdout, stderr)
		}
	}
}

// A call that fails with ENOSYS, from which programs fall back, is not reported.
func TestExplainENOSYS(t *testing.T) {
	needTracing(t) // without it there is a warning
	_, stderr, _ := explained(t, "--explain", "debian", "perl", "-e",
		fmt.Sprintf(`syscall(%d, 0, 0); syscall(999999); print STDERR "$!\n"`, unix.SYS_CLONE3))
	if stderr != "Function not implemented\nminirun: got ENOSYS, so that programs fall back to older calls: call 999999 clone3\n" {
		t.Errorf("%q", stderr)
	}
}

// A filter that knows few calls returns ENOSYS for some that programs have no other for: that
// is a denial, which --complain lets through.
func TestExplainFewCalls(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["execve","exit_group","write","brk","mmap"],"action":"SCMP_ACT_ALLOW"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	withAndWithoutBPF(t, func(t *testing.T, _ bool, run func(*testing.T, ...string) *exec.Cmd) {
		command := []string{"--seccomp", profile, "debian", "ls", "/"}
		_, stderr, status := output(run(t, append([]string{"--explain"}, command...)...))
		if !strings.Contains(stderr, `minirun: denied: openat(AT_FDCWD, "/etc/ld.so.cache", `) || !strings.Contains(stderr, "by ls (PID 1): ERRNO(ENOSYS)\n") || strings.Contains(stderr, "fall back to older calls: openat") || status != 127 {
			t.Errorf("status %d: %s", status, stderr)
		}
		want, _, _ := explained(t, "--seccomp", "unconfined", "debian", "ls", "/")
		if stdout, stderr, status := output(run(t, append([]string{"--complain"}, command...)...)); stdout != want || status != 0 {
			t.Errorf("status %d: %s%s", status, stdout, stderr)
		}
	})
}

// With --complain the calls have the result that they have without a filter.
func TestComplain(t *testing.T) {
	killing := filepath.Join(t.TempDir(), "killing.json")
	if err := os.WriteFile(killing, []byte(`{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[{"names":["execve","clone3"],"action":"SCMP_ACT_ALLOW"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		flags, command []string
		want           string // in the report
	}{
		"denied": {nil, []string{"unshare", "-U", "id", "-u"}, "minirun: would be denied: unshare(CLONE_NEWUSER) by unshare (PID 1): ERRNO(EPERM)\n"},
		"killed": {[]string{"--seccomp", killing}, []string{"echo", "alive"}, " by echo (PID 1): KILL_PROCESS\n"},
	} {
		t.Run(name, func(t *testing.T) {
			want, _, _ := explained(t, append([]string{"--seccomp", "unconfined", "debian"}, test.command...)...)
			args := append(append([]string{"--complain"}, test.flags...), "debian")
			stdout, stderr, status := explained(t, append(args, test.command...)...)
			if status != 0 || stdout != want || want == "" || !strings.Contains(stderr, test.want) || !strings.HasPrefix(stderr, "minirun: warning: --complain: ") {
				t.Errorf("status %d, %q, want %q\n%s", status, stdout, want, stderr)
			}
		})
	}
	_, stderr, status := explained(t, "--complain", "debian", "perl", "-e", fmt.Sprintf(`syscall(%d, 0, 0); exit $!`, unix.SYS_CLONE3))
	if status != int(unix.ENOSYS) {
		t.Errorf("clone3: status %d %s", status, stderr)
	}
}

// dump --against knows a filter that --explain has changed.
func TestExplainDump(t *testing.T) {
	withAndWithoutBPF(t, func(t *testing.T, bpf bool, run func(*testing.T, ...string) *exec.Cmd) {
		cmd := run(t, "--explain", "debian", "sh", "-c", "echo ready; exec sleep 600")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Wait() }()
		if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
			t.Fatal(err)
		}
		how := "as --explain changes it"
		if bpf {
			how = "byte for byte"
		}
		container := pid1(t, cmd.Process.Pid)
		defer func() { _ = unix.Kill(container, unix.SIGKILL) }()
		said, err := minirun(t, "seccomp", "dump", "--against", "default", strconv.Itoa(container)).CombinedOutput()
		if !strings.HasSuffix(string(said), " is that of default, "+how+"\n") {
			t.Errorf("%s, %v", said, err)
		}
	})
}

// What others run in a container is reported by its launcher, too, and complained about.
func TestExplainExec(t *testing.T) {
	withAndWithoutBPF(t, func(t *testing.T, _ bool, run func(*testing.T, ...string) *exec.Cmd) {
		for _, tt := range []struct {
			flag, report string
			status       int
		}{
			{"--explain", "minirun: denied: unshare(CLONE_NEWUSER) by unshare (PID ", 1},
			{"--complain", "minirun: would be denied: unshare(CLONE_NEWUSER) by unshare (PID ", 0},
		} {
			box, reports := containerName(t), &strings.Builder{}
			cmd := run(t, tt.flag, "--name", box, "debian", "sh", "-c", "echo ready; while :; do sleep 1000; done")
			cmd.Stderr = reports
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				in := minirun(t, "exec", box, "unshare", "-U", "true")
				said, _ := in.CombinedOutput()
				if got := in.ProcessState.ExitCode(); got != tt.status {
					t.Errorf("%s: status %d, want %d: %s", tt.flag, got, tt.status, said)
				}
			}
			says(t, 0, box+"\n", "", "kill", box)
			_ = cmd.Wait()
			if !strings.Contains(reports.String(), tt.report) {
				t.Errorf("%s: the reports are %q", tt.flag, reports)
			}
			wantNothingOf(t, box)
		}
	})
}
