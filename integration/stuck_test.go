package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// daemons has the PIDs of processes that serve all parts of a test, which together may take longer than the limit.
var daemons sync.Map

// spare excepts a daemon and its children from endStuck until limited is called, before the test waits for its end.
func spare(daemon *os.Process) (limited func()) {
	daemons.Store(strconv.Itoa(daemon.Pid), true)
	return func() { daemons.Delete(strconv.Itoa(daemon.Pid)) }
}

func spared(pid string) bool {
	_, is := daemons.Load(pid)
	return is
}

type testProcess struct {
	pid  int
	line string // of ps(1): its PID, parent, state, what it waits for and command
}

// began is before any process of the tests.
var began = time.Now()

// olderThan returns processes in the tests' network namespace that run for longer than
// limit, also those that lost their parents. Those that are spared are not among them, and no
// test binaries, since their time is limited by go test. Neither is the process that keeps the
// namespaces of a user's Podman between its commands.
func olderThan(limit time.Duration) []testProcess {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		panic(err)
	}
	out, err := exec.Command("ps", "-e", "-o", "netns=,etimes=,pid=,ppid=,stat=,wchan:32=,args=").Output()
	if err != nil {
		panic(err)
	}
	return listedOlderThan(limit, time.Since(began), string(out), own)
}

// listedOlderThan is olderThan for an output of ps(1) and a network namespace. A process that starts
// while ps runs is -1 s old for procps 4.0, which prints this as 4123168608: no process is older than most.
func listedOlderThan(limit, most time.Duration, listing, own string) []testProcess {
	var found []testProcess
	for line := range strings.Lines(listing) {
		fields := strings.Fields(line)
		if len(fields) < 7 || "net:["+fields[0]+"]" != own || strings.Contains(line, "-test.") {
			continue
		}
		if spared(fields[2]) || spared(fields[3]) || strings.HasSuffix(line, " catatonit -P\n") {
			continue
		}
		seconds, err := strconv.Atoi(fields[1])
		pid, err2 := strconv.Atoi(fields[2])
		age := time.Duration(seconds) * time.Second
		if err == nil && err2 == nil && age > limit && age <= most {
			found = append(found, testProcess{pid, strings.Join(fields[2:], " ")})
		}
	}
	return found
}

func TestStuckListing(t *testing.T) {
	const listing = `4026531840     400      10       1 S    - sleep 1000
4026532000     400      11       1 S    do_sys_poll                      sleep 1000
4026532000     200      12       1 S    -                                young
4026532000 4123168608   13       1 R    -                                younger
4026532000     400      14       1 S    -                                ./integration.test -test.v
4026532000     400      15       1 S    signalfd_read                    catatonit -P
         -     400      16       2 I    -                                [kworker/u8:1]
`
	want := []testProcess{{11, "11 1 S do_sys_poll sleep 1000"}}
	if got := listedOlderThan(5*time.Minute, 10*time.Minute, listing, "net:[4026532000]"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestStuck(t *testing.T) {
	testenv.Root(t)
	sleep := exec.Command("sh", "-c", "sleep 1000; :")
	sleep.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = syscall.Kill(-sleep.Process.Pid, syscall.SIGKILL), sleep.Wait() }()
	listed := func() (lines string) {
		for _, p := range olderThan(0) {
			if group, err := syscall.Getpgid(p.pid); err == nil && group == sleep.Process.Pid {
				lines += p.line + "\n"
			}
		}
		return lines
	}
	eventually(t, "the process and its child are listed", func() bool {
		return strings.Contains(listed(), " sh -c sleep 1000; :\n") && strings.Contains(listed(), " sleep 1000\n")
	})
	limited := spare(sleep.Process)
	if lines := listed(); lines != "" {
		t.Errorf("spared, but listed:\n%s", lines)
	}
	limited()
	if lines := listed(); strings.Count(lines, "\n") != 2 {
		t.Errorf("no longer spared, but listed:\n%s", lines)
	}
	if p := olderThan(time.Hour); len(p) > 0 {
		t.Errorf("processes of an hour ago: %v", p)
	}
}
