package integration

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// detach starts a container in the background, and returns its ID.
func detach(t *testing.T, name string, args ...string) string {
	t.Helper()
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", name).Run() })
	out, err := minirun(t, append([]string{"run", "-d", "--name", name}, args...)...).Output()
	if err != nil {
		t.Fatalf("run -d: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// What -d prints and ends with, and what stays of a container that did not start: nothing.
func TestDetach(t *testing.T) {
	name := containerName(t)
	id := detach(t, name, "debian", "sh", "-c", "echo out; echo err >&2; exit 3")
	says(t, 0, "3\n", "", "wait", id)
	says(t, 0, "out\n", "err\n", "logs", name)
	says(t, 0, "Exited (3)", "", "ps", "-a", "-f", "id="+id)
	says(t, 0, name, "", "rm", name)
	for _, tt := range []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{"debian", "no-such"}, 127, "run no-such: executable file not found"},
		{[]string{"debian", "/etc/passwd"}, 126, "run /etc/passwd: permission denied"},
		{[]string{"-u", "nosuch", "debian", "true"}, 125, "unable to find user nosuch"},
		{[]string{"--pull", "never", "no/such"}, 125, "no/such"},
		{[]string{"-a", "stdout", "debian", "true"}, 125, "cannot specify both --attach and --detach"},
		{[]string{"--log-opt", "max-size=x", "debian", "true"}, 125, "invalid size"},
		{[]string{"--log-opt", "foo=1", "debian", "true"}, 125, "unknown log opt 'foo' for json-file log driver"},
	} {
		says(t, tt.status, "", tt.stderr, append([]string{"-d", "--name", name}, tt.args...)...)
		wantNothingOf(t, name)
	}
	id = detach(t, name, "--rm", "debian", "sh", "-c", "while :; do sleep 1000; done")
	says(t, 0, name, "", "stop", "-t", "0", name)
	says(t, 1, "", "no such container", "wait", id)
	wantNothingOf(t, name)
}

// Without a reader of its input or terminal a detached container waits, as with docker.
func TestDetachInteractive(t *testing.T) {
	name := containerName(t)
	for flag, command := range map[string]string{"-i": "cat", "-it": "bash"} {
		detach(t, name, flag, "debian", command)
		says(t, 0, "", "", "logs", "--tail", "0", name)
		says(t, 0, "running\n", "", "ps", "-f", "name="+name, "--format", "{{.State}}")
		says(t, 0, name, "", "rm", "-f", name)
	}
}

func TestLogs(t *testing.T) {
	name := containerName(t)
	detach(t, name, "--log-opt", "max-size=2k", "--log-opt", "max-file=2", "debian", "sh", "-c",
		"n=0; while [ $n -lt 100 ]; do n=$((n+1)); echo line $n; done; while [ ! -e /end ]; do sleep 0.05; done; echo last")
	follow := minirun(t, "logs", "-f", "--tail", "1", name)
	pipe, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is in the log", func() bool {
		out, _ := minirun(t, "logs", "--tail", "1", name).Output()
		return string(out) == "line 100\n"
	})
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("line 100\n"))
	if _, err := io.ReadFull(pipe, first); err != nil {
		t.Fatal(err)
	}
	says(t, 137, "", "", "exec", name, "sh", "-c", "touch /end; exec sleep 1000") // killed with the container
	rest, _ := io.ReadAll(pipe)
	if err := follow.Wait(); err != nil || string(rest) != "last\n" {
		t.Errorf("logs -f: %v, %q", err, rest)
	}
	whole := says(t, 0, "line 100\nlast\n", "", "logs", name)
	if strings.Contains(whole, "line 1\n") || !strings.HasSuffix(whole, "line 99\nline 100\nlast\n") {
		t.Errorf("the log is not the end of the output: %q", whole)
	}
	says(t, 0, "Z last\n", "", "logs", "-t", "--tail", "1", name)
	says(t, 0, "", "", "logs", "--until", "1h", name)
	says(t, 1, "", `invalid value for "since": failed to parse value as time or duration: "x"`, "logs", "--since", "x", name)
	says(t, 0, name, "", "rm", name)
	wantNothingOf(t, name)
}

// SIGKILL of a supervisor loses no container silently, and 20 containers start and end at once.
func TestSupervisors(t *testing.T) {
	name := containerName(t)
	var starts sync.WaitGroup
	for i := range 20 {
		t.Cleanup(func() { _ = minirun(t, "rm", "-f", fmt.Sprint(name, "-", i)).Run() })
		starts.Go(func() {
			out, err := minirun(t, "-d", "--name", fmt.Sprint(name, "-", i), "debian", "sh", "-c", "echo begun; while :; do sleep 1000; done").CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	starts.Wait()
	listed := func(flags ...string) int {
		out, _ := minirun(t, append([]string{"ps", "-q", "-f", "name=" + name}, flags...)...).Output()
		return len(strings.Fields(string(out)))
	}
	if n := listed(); n != 20 {
		t.Fatalf("%d of 20 run", n)
	}
	var killed []string
	for i := range 5 {
		killed = append(killed, fmt.Sprint(name, "-", i))
		supervisor := supervisorOf(t, killed[i])
		if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the supervisor is gone", func() bool { return gone(supervisor) })
	}
	eventually(t, "their containers end", func() bool { return listed() == 15 })
	if err := minirun(t, "debian", "true").Run(); err != nil { // it may sweep
		t.Fatal(err)
	}
	for _, name := range killed {
		says(t, 0, "Exited (137) ", "container "+name+" has ended: its minirun was killed", "ps", "-a", "-f", "name="+name+"$")
		says(t, 0, "begun\n", "", "logs", name)
	}
	rm := []string{"rm", "-f"}
	for i := range 20 {
		rm = append(rm, fmt.Sprint(name, "-", i))
	}
	says(t, 0, killed[0]+"\n", "", rm...)
	if n := listed("-a"); n != 0 {
		t.Errorf("%d are left", n)
	}
	for i := range 20 {
		wantNothingOf(t, fmt.Sprint(name, "-", i))
	}
}

// supervisorOf finds the process that holds the lock of a container.
func supervisorOf(t *testing.T, name string) int {
	t.Helper()
	pid := lockHolder(filepath.Join(testBed.root, "containers", name))
	if pid == 0 {
		t.Fatalf("nobody holds the lock of %s", name)
	}
	return pid
}
