package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minirun/minirun/internal/testenv"
)

// endStuck kills processes of the tests that run for longer than a fifth of go test's time
// limit, five minutes at least, and prints what each was doing. The test that waits for one
// then fails under its own name, where the time limit would end all tests.
func endStuck() {
	limit := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration) / 5
	limit = max(limit, 5*time.Minute) // zero: there is no time limit
	for range time.Tick(limit / 20) {
		for _, p := range olderThan(limit) {
			calls, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stack", p.pid)) // empty for a user
			fmt.Fprintf(os.Stderr, "integration: killed after %v: %s\n%s", limit, p.line, calls)
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // may have ended
		}
	}
}

type testProcess struct {
	pid  int
	line string // of ps(1): its PID, parent, state, what it waits for and command
}

// olderThan returns processes in the tests' network namespace that run for longer than
// limit, also those that lost their parents. Test binaries are not among them, since their
// time is limited by go test.
func olderThan(limit time.Duration) []testProcess {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		panic(err)
	}
	out, err := exec.Command("ps", "-e", "-o", "netns=,etimes=,pid=,ppid=,stat=,wchan:32=,args=").Output()
	if err != nil {
		panic(err)
	}
	var found []testProcess
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 7 || "net:["+fields[0]+"]" != own || strings.Contains(line, "-test.") {
			continue
		}
		seconds, err := strconv.Atoi(fields[1])
		pid, err2 := strconv.Atoi(fields[2])
		if err == nil && err2 == nil && time.Duration(seconds)*time.Second > limit {
			found = append(found, testProcess{pid, strings.Join(fields[2:], " ")})
		}
	}
	return found
}

func TestStuck(t *testing.T) {
	testenv.Root(t)
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = sleep.Process.Kill(), sleep.Wait() }()
	listed := func() bool {
		for _, p := range olderThan(0) {
			if p.pid == sleep.Process.Pid {
				return strings.HasSuffix(p.line, " sleep 1000")
			}
		}
		return false
	}
	eventually(t, "the process is listed", listed)
	if p := olderThan(time.Hour); len(p) > 0 {
		t.Errorf("processes of an hour ago: %v", p)
	}
}
