package integration

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// blindChild runs minirun where no program can be attached to a tracepoint, or no file be taken
// from another process.
func blindChild() error {
	const command = 17 // BPF_RAW_TRACEPOINT_OPEN
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	skip := func(k uint32, n uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: n}
	}
	denied := []unix.SockFilter{load(0), skip(unix.SYS_BPF, 3), load(16), skip(command, 1)}
	if os.Getenv("MINIRUN_TEST_DENIED") == "pidfd_getfd" {
		denied = []unix.SockFilter{load(0), skip(unix.SYS_PIDFD_GETFD, 1)}
	}
	runtime.LockOSThread()
	if err := filterThread(append(denied,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	)); err != nil {
		return err
	}
	return unix.Exec(os.Getenv("MINIRUN_TEST_BLIND"), os.Args, os.Environ())
}

// blind returns minirun with arguments, which cannot attach a program to a tracepoint.
func blind(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := child(t, "blind")
	cmd.Env = append(cmd.Env, "MINIRUN_TEST_BLIND="+testBed.minirun)
	cmd.Args = append([]string{"minirun"}, args...)
	return cmd
}

// Without BPF there is one warning, and the filter's reports go on.
func TestExplainWithoutTracing(t *testing.T) {
	cmd := blind(t, "--explain", "debian", "sh", "-c", "hostname x; chown nobody /proc/1/status; exit 7")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_ = cmd.Run()
	text := stderr.String()
	if cmd.ProcessState.ExitCode() != 7 || strings.Count(text, "minirun: warning: ") != 1 || !strings.Contains(text, "what the kernel refuses is not all reported: attach to the tracepoint ") ||
		!strings.Contains(text, "minirun: denied: sethostname(") || strings.Contains(text, "denied: fchownat(") {
		t.Errorf("status %d: %s", cmd.ProcessState.ExitCode(), text)
	}
}
