package integration

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/seccomp/live"
)

// seccompVerb runs a verb of minirun seccomp, which must end with status.
func seccompVerb(t *testing.T, status int, args ...string) string {
	t.Helper()
	cmd := minirun(t, append([]string{"seccomp"}, args...)...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, cmd, status)
	if status < 2 && errors.Len() > 0 {
		t.Errorf("%v: %s", args, &errors)
	}
	return out.String() + errors.String()
}

func TestDump(t *testing.T) {
	requires(t, readableFilter)
	gated := filepath.Join(testBed.profiles, "chown-audit-control.json")
	container := []string{"--cap-add", "CAP_SYS_PTRACE", "--cap-drop", "CAP_MKNOD"}
	c := launch(t, append([]string{"--seccomp", gated}, container...), "sh", "-c", "echo ready; exec sleep 1000")
	pid := strconv.Itoa(c.pid1)

	t.Run("text", func(t *testing.T) {
		title, text, _ := strings.Cut(seccompVerb(t, 0, "dump", pid), "\n")
		if !strings.HasPrefix(title, "filter 1 of 1, ") {
			t.Errorf("the title is %q", title)
		}
		want := seccompVerb(t, 0, append([]string{"show", "--as", "asm", "--profile", gated}, container...)...)
		if diff := cmp.Diff(want, text); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("json", func(t *testing.T) {
		var filters []struct{ Instructions []unix.SockFilter }
		if err := json.Unmarshal([]byte(seccompVerb(t, 0, "dump", "--format", "json", pid)), &filters); err != nil || len(filters) != 1 {
			t.Fatalf("%d filters, %v", len(filters), err)
		}
		var got bytes.Buffer
		if err := binary.Write(&got, binary.NativeEndian, filters[0].Instructions); err != nil {
			t.Fatal(err)
		}
		if want := seccompVerb(t, 0, append([]string{"show", "--as", "bpf", "--profile", gated}, container...)...); got.String() != want {
			t.Error("the filter is not what seccomp show --as bpf gives")
		}
	})
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"the profile", []string{"--against", gated}, 0, "filter 1 of 1 is that of " + gated + ", byte for byte\n"},
		{"the profile, with the flags of the launch", append([]string{"--against", gated}, container...), 0, "byte for byte\n"},
		{"other capabilities", []string{"--against", gated, "--cap-add", "CAP_AUDIT_CONTROL", "--cap-add", "CAP_SYS_PTRACE"}, 1, "chown     ERRNO(EPERM)  ALLOW (" + gated + ":"},
		{"another profile", []string{"--against", "default"}, 1, "chown     ERRNO(EPERM)  ALLOW (default.json:"},
		{"as JSON", []string{"--against", "default", "--format", "json"}, 1, `"call": "chown",`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := seccompVerb(t, tt.status, append(append([]string{"dump"}, tt.args...), pid)...)
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %q", got, tt.want)
			}
			if strings.Contains(got, "mount") {
				t.Errorf("a call that both deny is said to differ: %s", got)
			}
		})
	}
	c.end(t) // it still runs, and ends as it should
}

func TestDumpNoFilter(t *testing.T) {
	requires(t, readableFilter)
	c := launch(t, []string{"--seccomp", "unconfined"}, "sh", "-c", "echo ready; exec sleep 1000")
	pid := strconv.Itoa(c.pid1)
	want := "process " + pid + " has no filter\n"
	if got := seccompVerb(t, 0, "dump", pid); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := seccompVerb(t, 0, "dump", "--format", "json", pid); got != "[]\n" {
		t.Errorf("got %q", got)
	}
	if got := seccompVerb(t, 1, "dump", "--against", "default", pid); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.end(t)
}

// filteredChild is a thread with two filters of its own. It prints its number, and
// runs until standard input ends.
func filteredChild() error {
	runtime.LockOSThread()
	load := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 4}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	for _, program := range [][]unix.SockFilter{{allow}, {load, allow}} {
		if err := filterThread(program); err != nil {
			return err
		}
	}
	fmt.Println(unix.Gettid())
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// filterThread puts the calling thread under a filter, for good.
func filterThread(program []unix.SockFilter) error {
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return os.NewSyscallError("prctl(PR_SET_SECCOMP)", unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0))
}

// filteredThread starts a child and returns the number of its thread that has filters.
func filteredThread(t *testing.T, name string) string {
	t.Helper()
	cmd := child(t, name)
	_, out := testenv.Start(t, cmd)
	pid, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(pid)
}

// Two filters that are not minirun's, in the order in which they were installed.
func TestDumpForeignFilters(t *testing.T) {
	requires(t, readableFilter)
	pid := filteredThread(t, "filtered")
	want := "filter 1 of 2, 1 instruction\n    0  ret  ALLOW\nfilter 2 of 2, 2 instructions\n    0  load arch\n    1  ret  ALLOW\n"
	if got := seccompVerb(t, 0, "dump", pid); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := seccompVerb(t, 1, "dump", "--against", "default", pid), "none of the 2 filters is that of default\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// intricateChild is a thread whose filter compares two arguments with each other.
func intricateChild() error {
	runtime.LockOSThread()
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ, K: unix.SYS_ACCT, Jf: 5},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16},
		{Code: unix.BPF_MISC | unix.BPF_TAX},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 24},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_X, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := filterThread(program); err != nil {
		return err
	}
	fmt.Println(unix.Gettid())
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// A filter that compares arguments with each other cannot be analyzed: that is an
// error, and neither the same nor a difference.
func TestDumpIntricate(t *testing.T) {
	requires(t, readableFilter)
	pid := filteredThread(t, "intricate")
	got := seccompVerb(t, 2, "dump", "--against", "default", pid)
	if !strings.Contains(got, "acct: the program is too intricate to say what it does for all arguments") {
		t.Errorf("got %q", got)
	}
}

func TestDumpRefused(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(gone.Process.Pid)
	want := "minirun: process " + pid + ": no such process\nhint: 'ps -e' lists the processes\n"
	if got := seccompVerb(t, 125, "dump", pid); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := seccompVerb(t, 125, "dump", "--against", "default", pid); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The errors say which privilege is missing, and that a process does not exist.
func TestDumpAsUser(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "minirun") // where a user can read it
	if out, err := exec.Command("cp", testBed.minirun, program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(program, "seccomp", "dump", strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, cmd, 125)
	want := "minirun: process " + strconv.Itoa(os.Getpid()) + ": operation not permitted\nhint: reading filters needs root, and a process that nobody traces: try sudo\n"
	if stderr.String() != want {
		t.Errorf("got %q, want %q", &stderr, want)
	}
}

// A process gets its signals although it is stopped again and again.
func TestDumpKeepsSignals(t *testing.T) {
	requires(t, readableFilter)
	cmd := exec.Command("sh", "-c", `trap 'echo got' USR1; sleep 1000 & echo ready; while :; do wait; done`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	t.Cleanup(func() { _ = unix.Kill(-pid, unix.SIGKILL); _ = cmd.Wait() })
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	over, done := make(chan bool), make(chan error)
	go func() {
		for {
			select {
			case <-over:
				done <- nil
				return
			default:
				if _, err := live.Filters(pid); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for i := range 500 {
		if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if line, err := out.ReadString('\n'); line != "got\n" { // a lost signal is waited for until go test's own limit
			t.Fatalf("after %d signals: %q, %v", i, line, err)
		}
	}
	close(over)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
