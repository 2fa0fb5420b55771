package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher"
)

// No program can answer for minirun by a listener of its own, also when minirun is
// killed. Where minirun is not the listener it gets its own, but the filter still decides.
func TestExplainNestedListener(t *testing.T) {
	dir := testProgram(t, "nest")
	const own, none = "ready\nlistener: GOT THROUGH\nunshare: Operation not permitted\n", "ready\nlistener: Device or resource busy\n"
	if stdout, stderr, _ := explained(t, "-v", dir+":/p:ro", "debian", "/p/nest"); stdout != own {
		t.Errorf("%s%s", stdout, stderr)
	}
	withAndWithoutBPF(t, func(t *testing.T, bpf bool, run func(*testing.T, ...string) *exec.Cmd) {
		for flag, passes := range map[string]string{"--explain": "Operation not permitted", "--complain": "GOT THROUGH"} {
			stdout, stderr, _ := output(run(t, flag, "--cap-drop", "ALL", "-v", dir+":/p:ro", "debian", "/p/nest"))
			want, asked := none+"unshare: "+passes+"\n", true
			if bpf && flag == "--explain" {
				want, asked = own, false
			}
			if stdout != want || strings.Contains(stderr, "denied: seccomp(SECCOMP_SET_MODE_FILTER, 8, 0x") != asked ||
				strings.Contains(stderr, "a process can have one listener, and minirun is it") != asked {
				t.Errorf("%s: %s%s", flag, stdout, stderr)
			}
		}
	})
}

func TestExplainUnreadableMemory(t *testing.T) {
	dir := testProgram(t, "hang")
	profile := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["acct"],"action":"SCMP_ACT_ERRNO"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	withAndWithoutBPF(t, func(t *testing.T, _ bool, run func(*testing.T, ...string) *exec.Cmd) {
		unreadable(t, run(t, "--explain", "--seccomp", profile, "--cap-add", "CAP_SYS_PTRACE", "-v", dir+":/p:ro", "debian", "/p/hang"))
	})
}

func unreadable(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	begin := time.Now()
	stdout, stderr, status := output(cmd)
	calls := regexp.MustCompile(`^Operation not permitted (\d+)\nOperation not permitted (\d+)\n$`).FindStringSubmatch(stdout)
	if status == 2 {
		testenv.Need(t, "userfaultfd in a container", false)
	}
	if status != 0 || calls == nil || !strings.Contains(stderr, "denied: acct(0x") {
		t.Fatalf("status %d: %s%s", status, stdout, stderr)
	}
	first, _ := strconv.Atoi(calls[1])
	second, _ := strconv.Atoi(calls[2])
	if first > 300 || second > max(first-50, 90) { // the second is not read while the first is stuck
		t.Errorf("the calls took %d and %d ms", first, second)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the container ended after %v", took)
	}
}

func TestExplainHostileNames(t *testing.T) {
	dir := testProgram(t, "names")
	withAndWithoutBPF(t, func(t *testing.T, _ bool, run func(*testing.T, ...string) *exec.Cmd) {
		_, stderr, status := output(run(t, "--explain", "-v", dir+":/p:ro", "debian", "/p/names"))
		if status != 0 || regexp.MustCompile(`[^ -~\n]`).MatchString(stderr) {
			t.Errorf("status %d: %q", status, stderr)
		}
		for _, want := range []string{`acct("last") by \x1b]0;x\a`, `acct("\xff\x1b[2J` + strings.Repeat("a", 250) + `"...) by`, `acct(0x1) by`} {
			if !strings.Contains(stderr, want) {
				t.Errorf("no %s in %s", want, stderr)
			}
		}
	})
}

// With -t nothing of minirun's is on the terminal before the container's last byte, and
// FILE has a line at once.
func TestExplainTerminal(t *testing.T) {
	needTracing(t) // without it there is a warning
	file := filepath.Join(t.TempDir(), "lines")
	term := newTerminal(t, "--explain-to", file, "-it", "debian", "sh", "-c", "mount -t tmpfs none /mnt; echo denied-now; read x; echo last-$x")
	term.wait("denied-now")
	eventually(t, "a line while the container runs", func() bool {
		data, _ := os.ReadFile(file)
		return bytes.Contains(data, []byte(`"call":"mount"`))
	})
	if strings.Contains(term.text(), "minirun:") {
		t.Errorf("%q", term.text())
	}
	term.send("word\n")
	term.wait("--allow mount")
	_, after, _ := strings.Cut(term.text(), "last-word\r\n")
	if !strings.HasPrefix(after, "minirun: denied: mount(") && !strings.HasPrefix(after, "\x1b[1;33mminirun: denied:\x1b[0m mount(") || strings.Contains(strings.ReplaceAll(after, "\r\n", ""), "\n") {
		t.Errorf("%q", term.text())
	}
	if err := term.Wait(); err != nil {
		t.Error(err)
	}
}

func TestExplainManyProcesses(t *testing.T) {
	dir := testProgram(t, "repeat")
	withAndWithoutBPF(t, func(t *testing.T, _ bool, run func(*testing.T, ...string) *exec.Cmd) {
		_, stderr, status := output(run(t, "--explain", "-v", dir+":/p:ro", "debian", "sh", "-c", "i=0; while [ $i -lt 1000 ]; do /p/repeat 1 & i=$((i+1)); done; wait"))
		if status != 0 || strings.Count(stderr, "denied:") != 1 || !strings.Contains(stderr, "1000 times in all: acct by repeat\n") {
			t.Errorf("status %d: %s", status, stderr)
		}
	})
}

// A command with many denied calls is told once of each call, however many reports there are of others.
func TestExplainEachCall(t *testing.T) {
	const script = `$x = "x"; for (1..110) { fork or do { $0 = "c$_"; syscall(170, $x, 1); exit }; wait } syscall(163, 0)`
	for _, flag := range []string{"--explain-filter", "--complain"} {
		_, stderr, status := explained(t, flag, "debian", "perl", "-e", script)
		if status != 0 || !strings.Contains(stderr, "denied: acct(") || !strings.Contains(stderr, " more denied calls, not reported one by one\n") {
			t.Errorf("%s: status %d, %s", flag, status, stderr)
		}
	}
}

// A filter that cannot be observed is refused, or warned of, before anything is made.
func TestExplainRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lines")
	for _, test := range []struct {
		flags  []string
		status int
		want   string
	}{
		{[]string{"--complain", "--seccomp", "unconfined"}, 125, "--complain: the container has no filter"},
		{[]string{"--explain-filter", "--seccomp", "unconfined"}, 125, "--explain-filter: the container has no filter"},
		{[]string{"--explain-to", file, "--complain", "--seccomp", "unconfined"}, 125, "--complain: the container has no filter"},
		{[]string{"--explain-to", filepath.Join(file, "x")}, 125, "--explain-to " + filepath.Join(file, "x") + ": no such file"},
	} {
		_, stderr, status := explained(t, append(test.flags, "debian", "true")...)
		if status != test.status || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: status %d: %s", test.flags, status, stderr)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a launch that was refused made the file")
	}
}

// Where the listener cannot be taken from init, as where kernel.yama.ptrace_scope is 3, what needs
// it is refused, and says so.
func TestExplainWithoutPidfd(t *testing.T) {
	for _, flags := range [][]string{{"--explain-filter"}, {"--complain"}, {"--record", filepath.Join(t.TempDir(), "p.json")}} {
		cmd := blind(t, append(flags, "debian", "true")...)
		cmd.Env = append(cmd.Env, "MINIRUN_TEST_DENIED=pidfd_getfd")
		_, stderr, status := output(cmd)
		if status != 125 || !strings.Contains(stderr, "minirun: arm the seccomp filter: take the filter's listener: pidfd_getfd: operation not permitted\nhint: leave out --explain-filter, --complain and --record, ") {
			t.Errorf("%s: status %d: %s", flags[0], status, stderr)
		}
	}
	cmd := blind(t, "doctor")
	cmd.Env = append(cmd.Env, "MINIRUN_TEST_DENIED=pidfd_getfd")
	if stdout, _, _ := output(cmd); !strings.Contains(stdout, "operation not permitted; --explain-filter") {
		t.Errorf("%s", stdout)
	}
}

// killCallers kills each caller before it is looked at.
func killCallers() *launcher.Observation {
	return &launcher.Observation{
		Judge: func(n launcher.Notification) launcher.Answer {
			_ = unix.Kill(n.TID, unix.SIGKILL)
			for {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.TID))
				if err != nil || bytes.Contains(stat, []byte(") Z ")) {
					return launcher.Answer{Errno: unix.EPERM, Report: true, Texts: 1}
				}
				runtime.Gosched()
			}
		},
		WhenDenied: func(d launcher.Denied) {
			fmt.Fprintf(os.Stderr, "denied %d to %+v %v\n", d.Nr, d.Caller, d.Texts[0])
		},
	}
}

// A caller that has been killed meanwhile is not reported: another process may have its PID.
func TestExplainKilledCaller(t *testing.T) {
	u := underProgram{
		Program: notifying(unix.SYS_SYMLINKAT), Flags: unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, Kill: true,
		Volume: t.TempDir() + ":/made", Args: []string{"sh", "-c", "ln -s a /b; echo status $?"},
	}
	out, err := u.launch(t)
	want := fmt.Sprintf("denied %d to %+v <nil>\n", unix.SYS_SYMLINKAT, launcher.Caller{})
	if err != nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "status 137\n") {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
}
