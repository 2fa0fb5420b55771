package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher/trace"
)

// needTracing needs a kernel that lets root watch.
func needTracing(t *testing.T) {
	t.Helper()
	testenv.Need(t, "amd64, for tracing", runtime.GOARCH == "amd64")
	if err := trace.Supported(); err != nil {
		testenv.Need(t, "tracing: "+err.Error(), false)
	}
}

// reportLine is what the tests read of a line of --explain-to.
type reportLine struct {
	Call, Comm, By, Verdict, Errno, Because, Library string
	Args, Capabilities                               []string
	PID, HostPID, Count                              int
	Changes                                          []struct{ Kind, How string }
}

func (r reportLine) String() string {
	return fmt.Sprintf("%s(%s) by %s", r.Call, strings.Join(r.Args, ", "), r.Comm)
}

// reported runs a command with --explain-to and returns the first line of each report.
func reported(t *testing.T, args ...string) (lines []reportLine, stderr string, status int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lines")
	_, stderr, status = explained(t, append([]string{"--explain-to", file}, args...)...)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	for line := range bytes.Lines(data) {
		var r reportLine
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if r.Count == 1 {
			lines = append(lines, r)
		}
	}
	return lines, stderr, status
}

// withDenials are the flags and the command that run denials.sh.
func withDenials(t *testing.T, flags ...string) []string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "observe"))
	if err != nil {
		t.Fatal(err)
	}
	return append(flags, "-v", dir+":/p:ro", "debian", "sh", "/p/denials.sh")
}

// refusal is a call of denials.sh: who makes it, and which capability it needs.
type refusal struct{ call, comm, errno, capabilities string }

func ofKernel() []refusal {
	syslog := "CAP_SYSLOG"
	return []refusal{
		{"mount", "mount", "EPERM", "CAP_SYS_ADMIN"},
		{"sethostname", "hostname", "EPERM", "CAP_SYS_ADMIN"},
		{"clock_settime", "date", "EPERM", "CAP_SYS_TIME"},
		{"openat", "sh", "EROFS", ""},
		{"openat", "cat", "EACCES", "CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH"},
		{"kill", "sh", "EPERM", "CAP_KILL"},
		{"fchownat", "chown", "EPERM", "CAP_CHOWN"},
		{"setpriority", "nice", "EACCES", "CAP_SYS_NICE"},
		{"openat", "touch", "EACCES", "CAP_DAC_OVERRIDE"},
		{"openat", "cat", "EPERM", ""},
		{"syslog", "dmesg", "EPERM", syslog},
		{"sendto", "perl", "EPERM", "CAP_NET_ADMIN"}, // the answer to it
		{"mlockall", "perl", "ENOMEM", "CAP_IPC_LOCK"},
		{"execve", "sh", "EACCES", ""},
	}
}

func wantOnce(t *testing.T, lines []reportLine) {
	t.Helper()
	seen := map[string]string{}
	for _, r := range lines {
		key := fmt.Sprint(r, r.PID)
		if by, ok := seen[key]; ok && by != r.By {
			t.Errorf("%s is reported by the filter and by the kernel", r)
		}
		seen[key] = r.By
	}
}
