package integration

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Those who are attached to a container in the background are served by a child of its launcher
// in C, or by its launcher in Go. What if either cannot?

// serverOf returns that child: it is neither PID 1 nor the guard.
func serverOf(t *testing.T, launcher int) (server int) {
	t.Helper()
	others := []int{pid1(t, launcher), guardOf(t, launcher)}
	eventually(t, "there is a server", func() bool {
		for _, pid := range childrenOf(t, launcher) {
			if !slices.Contains(others, pid) {
				server = pid
			}
		}
		return server != 0
	})
	return server
}

// lastNumber returns the number in the last line of a container's log.
func lastNumber(t *testing.T, name string) int {
	t.Helper()
	out, _ := minirun(t, "logs", "--tail", "1", name).Output()
	number, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return number
}

const countsToEnd = "n=0; until [ -e /end ]; do n=$((n+1)); echo $n; sleep 0.01; done; echo last; exit 5"

// When the server is killed, the launcher takes the streams back: who is attached is told, the
// log goes on, and others can attach.
func TestKilledServer(t *testing.T) {
	for _, flags := range []string{"", "-i", "-t", "--rm", "--log-opt max-size=2k"} {
		name := containerName(t)
		detach(t, name, append(strings.Fields(flags), "debian", "sh", "-c", countsToEnd)...)
		launcher := supervisorOf(t, name)
		for range 2 {
			cmd := minirun(t, "attach", "--no-stdin", name)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
				t.Fatalf("%q: %v, %s", flags, err, &stderr)
			}
			if err := unix.Kill(serverOf(t, launcher), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, out)
			wantStatus(t, cmd, 1)
			if want := "minirun: container " + name + " runs on, but its launcher has closed the connection\n"; !strings.HasPrefix(stderr.String(), want) {
				t.Errorf("%q: attach said %q, want %q", flags, &stderr, want)
			}
			before := lastNumber(t, name)
			eventually(t, "the log goes on", func() bool { return lastNumber(t, name) > before })
		}
		a := attach(t, "attach", "--no-stdin", name)
		if _, err := a.out.ReadString('\n'); err != nil {
			t.Fatalf("%q: attach again: %v", flags, err)
		}
		says(t, 137, "", "", "exec", name, "sh", "-c", "touch /end; exec sleep 1000") // killed with the container
		rest, _ := io.ReadAll(a.out)
		wantStatus(t, a.Cmd, 5)
		if !strings.HasSuffix(strings.ReplaceAll(string(rest), "\r", ""), "\nlast\n") {
			t.Errorf("%q: the end is %q", flags, rest)
		}
		if flags != "--rm" {
			says(t, 0, "last", "", "logs", "--tail", "1", name)
			says(t, 0, name, "", "rm", name)
		}
		wantNothingOf(t, name)
	}
}

// What a server that is killed at the end has not logged is logged by the launcher.
func TestKilledServerAtTheEnd(t *testing.T) {
	name := containerName(t)
	detach(t, name, "debian", "sh", "-c", countsToEnd)
	launcher := supervisorOf(t, name)
	first := pid1(t, launcher)
	a := attach(t, "attach", name)
	if _, err := a.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	server := serverOf(t, launcher)
	if err := unix.Kill(server, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	says(t, 137, "", "", "exec", name, "sh", "-c", "touch /end; exec sleep 1000") // killed with the container
	eventually(t, "the container ends", func() bool { return gone(first) })
	if err := unix.Kill(server, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, a.out)
	wantStatus(t, a.Cmd, 5)
	says(t, 0, "5\n", "", "wait", name)
	says(t, 0, "last\n", "", "logs", "--tail", "1", name)
}

// limitFiles leaves a process so many descriptors, and returns what undoes that.
func limitFiles(t *testing.T, pid, left int) (undo func()) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	open := map[int]bool{}
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		open[fd] = true
	}
	limit := 0
	for ; left > 0 || open[limit]; limit++ {
		if !open[limit] {
			left--
		}
	}
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: 1 << 10}, &before); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 10, Max: 1 << 10}, nil); err != nil {
			t.Error(err)
		}
	}
}

// A launcher that has no descriptor left for one who attaches says so to no one, but does not
// have them wait. One in C serves the next who attaches, when it has.
func TestAttachWithoutDescriptors(t *testing.T) {
	for flags, left := range map[string]int{"-t --log-driver none": 1, "--init-by libcontainer": 0} { // poll(2) refuses more files than the limit
		name := containerName(t)
		detach(t, name, append(strings.Fields(flags), "debian", "sh", "-c", countsToEnd)...)
		launcher := supervisorOf(t, name)
		if left > 0 {
			waitsInC(t, launcher)
		}
		undo := limitFiles(t, launcher, left)
		for range 2 {
			says(t, 1, "", "runs on, but its launcher has closed the connection", "attach", name)
		}
		undo()
		if left > 0 {
			a := attach(t, "attach", "--sig-proxy=false", name)
			if _, err := a.out.ReadString('\n'); err != nil {
				t.Errorf("attach again: %v", err)
			}
		}
		says(t, 0, name, "", "rm", "-f", name)
		wantNothingOf(t, name)
	}
}

// A container that has closed one of its outputs is served the other.
func TestAttachToClosedOutput(t *testing.T) {
	name := containerName(t)
	detach(t, name, "debian", "sh", "-c", "exec >&-; until [ -e /end ]; do sleep 0.01; done; echo end >&2")
	launcher := supervisorOf(t, name)
	pipes := func() int {
		return len(slices.DeleteFunc(openFiles(t, launcher, testBed.root), func(f string) bool { return f != "pipe" }))
	}
	eventually(t, "the launcher closes the output", func() bool { return pipes() == 2 }) // the other, and what it says itself
	cmd := minirun(t, "attach", name)
	var shown, said strings.Builder
	cmd.Stdout, cmd.Stderr = &shown, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serverOf(t, launcher)
	says(t, 137, "", "", "exec", name, "sh", "-c", "touch /end; exec sleep 1000") // killed with the container
	wantStatus(t, cmd, 0)
	if shown.String() != "" || said.String() != "end\n" {
		t.Errorf("%q and %q were shown", &shown, &said)
	}
}

// An attachment whose output nobody reads ends when the container has, with the second signal.
func TestTerminateAttached(t *testing.T) {
	name := containerName(t)
	detach(t, name, "debian", "sh", "-c", "trap 'exit 3' TERM; until [ -e /go ]; do sleep 0.01; done; yes & while :; do sleep 0.01; done")
	a := attach(t, "attach", name)
	serverOf(t, supervisorOf(t, name))
	first := pid1(t, supervisorOf(t, name))
	says(t, 0, "", "", "exec", name, "touch", "/go")
	a.line(t, "y") // and no more
	if err := a.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the container ends", func() bool { return gone(first) })
	if err := a.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, a.Cmd, 143)
}
