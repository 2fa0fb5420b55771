package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/trace"
)

// When minirun and its guard are killed at once, a container that goes on gets nothing
// through that the profile denies, by a listener of its own or otherwise.
func TestExplainKilled(t *testing.T) {
	for _, flag := range []string{"--explain", "--explain-filter", "--complain"} {
		t.Run(flag, func(t *testing.T) {
			dir := testProgram(t, "nest")
			l := launch(t, []string{flag, "-v", dir + ":/p"}, "/p/nest", "/p/out", "/p/go")
			for _, pid := range childrenOf(t, l.Process.Pid) {
				if pid != l.pid1 {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
			_ = l.Process.Kill()
			_ = l.Wait()
			if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			var out []byte
			eventually(t, "the container's last word", func() bool {
				out, _ = os.ReadFile(filepath.Join(dir, "out"))
				return bytes.Contains(out, []byte("unshare: "))
			})
			want := "listener: Function not implemented\nunshare: Function not implemented\n"
			if flag == "--explain" && trace.Supported() == nil { // minirun is not its listener
				want = "listener: GOT THROUGH\nunshare: Operation not permitted\n"
			}
			if string(out) != want {
				t.Errorf("%q", out)
			}
			_ = unix.Kill(l.pid1, unix.SIGKILL)
			eventually(t, "the end of the container", func() bool { return gone(l.pid1) })
			if _, stderr, status := explained(t, "debian", "true"); status != 0 { // it removes what is left
				t.Error(stderr)
			}
		})
	}
}

func childrenOf(t *testing.T, pid int) (children []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		pids, _ := os.ReadFile(task) // a thread that has ended
		for _, text := range strings.Fields(string(pids)) {
			child, _ := strconv.Atoi(text)
			children = append(children, child)
		}
	}
	return children
}

// waiter waits for the file go, says in the file out that allowed calls go on, makes a call
// that the profile denies, and says what that returned.
var waiter = fmt.Sprintf(`$| = 1; print "ready"; until (-e "/p/go") { select undef, undef, undef, 0.001 }
	open O, ">", "/p/out"; O->autoflush(1); print O "allowed\n"; my $p = "/x"; syscall(%d, $p); print O "$!\n"`, unix.SYS_ACCT)

// While minirun is stopped a call that it is asked about waits, and others go on. SIGCONT has
// the call answered; SIGKILL ends the container.
func TestExplainStopped(t *testing.T) {
	for _, flag := range []string{"--explain-filter", "--complain"} {
		for _, sig := range []unix.Signal{unix.SIGCONT, unix.SIGKILL} {
			t.Run(flag+" "+sig.String(), func(t *testing.T) {
				dir := t.TempDir()
				l := stoppedLaunch(t, flag, dir)
				eventually(t, "the call to wait", func() bool {
					call, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", l.pid1))
					return strings.HasPrefix(string(call), strconv.Itoa(unix.SYS_ACCT)+" ")
				})
				wantOut(t, dir, "allowed\n")
				_ = unix.Kill(l.Process.Pid, sig)
				if sig == unix.SIGKILL {
					_ = l.Wait()
					eventually(t, "the end of the container", func() bool { return gone(l.pid1) })
					wantOut(t, dir, "allowed\n", "allowed\nFunction not implemented\n") // whichever is first: the kernel's answer, or the end
					says(t, 0, "", "", "debian", "true")                                // it removes what is left
					return
				}
				_, _ = io.Copy(io.Discard, l.output)
				wantStatus(t, l.Cmd, 0)
				wantOut(t, dir, "allowed\nOperation not permitted\n")
				if !strings.Contains(l.stderr.String(), ` denied: acct("/x") by perl (PID 1): `) && !strings.Contains(l.stderr.String(), ` would be denied: acct("/x") by perl (PID 1): `) {
					t.Errorf("%s", &l.stderr)
				}
			})
		}
	}
	t.Run("--explain", func(t *testing.T) {
		needTracing(t)
		dir := t.TempDir()
		l := stoppedLaunch(t, "--explain", dir)
		eventually(t, "the container to go on", func() bool {
			out, _ := os.ReadFile(filepath.Join(dir, "out"))
			return string(out) == "allowed\nOperation not permitted\n"
		})
		_ = unix.Kill(l.Process.Pid, unix.SIGCONT)
		wantStatus(t, l.Cmd, 0)
	})
}

// stoppedLaunch stops minirun, and has the command in its container go on.
func stoppedLaunch(t *testing.T, flag, dir string) *launched {
	t.Helper()
	l := launch(t, []string{flag, "-v", dir + ":/p"}, "perl", "-MIO::Handle", "-e", waiter)
	_ = unix.Kill(l.Process.Pid, unix.SIGSTOP)
	eventually(t, "minirun to stop", func() bool {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", l.Process.Pid))
		return bytes.Contains(stat, []byte(") T "))
	})
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

func wantOut(t *testing.T, dir string, want ...string) {
	t.Helper()
	if out, err := os.ReadFile(filepath.Join(dir, "out")); !slices.Contains(want, string(out)) {
		t.Errorf("the command said %q, want one of %q (%v)", out, want, err)
	}
}
