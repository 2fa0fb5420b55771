package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// says runs minirun, and expects the status and what standard output and error contain.
func says(t *testing.T, status int, stdout, stderr string, args ...string) string {
	t.Helper()
	cmd := minirun(t, args...)
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("minirun %q: status %d, want %d", args, got, status)
	}
	if text := string(out); !strings.Contains(text, stdout) || stdout == "" && text != "" {
		t.Errorf("minirun %q wrote %q, want %q", args, text, stdout)
	}
	if text := errors.String(); !strings.Contains(text, stderr) || stderr == "" && text != "" {
		t.Errorf("minirun %q said %q, want %q", args, text, stderr)
	}
	return string(out)
}

// patient ends with 7 when it gets SIGTERM.
var patient = []string{"sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"}

// A container in the foreground is listed, stopped and waited for by others.
func TestForegroundLife(t *testing.T) {
	c := launch(t, []string{"--label", "of=" + containerName(t)}, patient...)
	var row map[string]string
	if err := json.Unmarshal([]byte(says(t, 0, "{", "", "ps", "--filter", "name=^"+c.name+"$", "--format", "json")), &row); err != nil {
		t.Fatal(err)
	}
	if row["Names"] != c.name || row["Image"] != "debian" || row["State"] != "running" || !strings.HasPrefix(row["Status"], "Up ") ||
		row["Command"] != `"sh -c 'trap 'exit 7…"` || row["Networks"] != "bridge" {
		t.Errorf("ps: %v", row)
	}
	id := row["ID"]
	for filter, listed := range map[string]bool{
		"label=of": true, "label=of=" + c.name: true, "label=of=x": false, "id=" + id[:5]: true, "status=running": true,
		"status=exited": false, "ancestor=debian:latest": true, "ancestor=alpine": false, "before=" + c.name: false,
	} {
		want := ""
		if listed {
			want = id + "\n"
		}
		says(t, 0, want, "", "ps", "-aq", "--filter", "name="+c.name, "--filter", filter)
	}
	says(t, 1, "", "you cannot remove a running container "+id, "rm", c.name)
	says(t, 1, "", "no such container: no-such", "kill", "no-such")
	says(t, 125, "", `"FOO" is no signal`, "kill", "-s", "FOO", c.name)
	says(t, 0, "", "", "ps", "-q", "-f", "name=no-such")
	says(t, 0, c.name+"\n", "", "kill", "-s", "WINCH", c.name)

	waiter := minirun(t, "wait", id[:8])
	var waited strings.Builder
	waiter.Stdout = &waited
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the waiter waits", func() bool { return waitsForLock(waiter) })
	says(t, 1, id+"\n", "no such container: no-such", "stop", id, "no-such")
	wantStatus(t, c.Cmd, 7)
	if err := waiter.Wait(); err != nil || waited.String() != "7\n" {
		t.Errorf("wait: %v, %q", err, &waited)
	}
	says(t, 1, "", "no such container", "wait", c.name)
	wantNothing(t, c)
}

// waitsForLock reports whether a process waits for a lock (proc_locks(5)).
func waitsForLock(cmd *exec.Cmd) bool {
	locks, _ := os.ReadFile("/proc/locks")
	for line := range strings.Lines(string(locks)) {
		fields := strings.Fields(line)
		if len(fields) > 5 && fields[1] == "->" && strings.Contains(line, " "+strconv.Itoa(cmd.Process.Pid)+" ") {
			return true
		}
	}
	return false
}

// With --rm=false the container stays, under its name, and says how it ended.
func TestKeptLife(t *testing.T) {
	name := containerName(t)
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", name).Run() })
	says(t, 3, "", "", "--rm=false", "--name", name, "debian", "sh", "-c", "exit 3")
	says(t, 0, "exited Exited (3) ", "", "ps", "-f", "name="+name, "-a", "--format", "{{.State}} {{.Status}}")
	says(t, 0, "", "", "ps", "-q", "-f", "name="+name)
	says(t, 0, "3\n", "", "wait", name)
	says(t, 0, name+"\n", "", "stop", name)
	says(t, 1, "", "cannot kill container: "+name+": container ", "kill", name)
	says(t, 125, "", "in use", "--name", name, "debian", "true")
	says(t, 0, name+"\n", "", "rm", name)
	says(t, 1, "", "no such container: "+name, "rm", name)
	says(t, 0, "", "warning: no such container: "+name, "rm", "-f", name)
	wantNothingOf(t, name)

	says(t, 127, "", "not found", "--rm=false", "--name", name, "debian", "no-such") // nothing ran: nothing stays
	wantNothingOf(t, name)
}

// A container that --rm removes is there while it is restarted. If the restart is killed in
// between it stays, and its next end removes it. One in the foreground is not stopped.
func TestRestartedRemoved(t *testing.T) {
	name := containerName(t)
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", name).Run() })
	says(t, 0, "\n", "", "run", "-d", "--rm", "--name", name, "--network", "none", "debian", "sleep", "1000")
	says(t, 0, name+"\n", "", "restart", "-t", "0", name)
	says(t, 0, "running true\n", "", "inspect", "-f", "{{.State.Status}} {{.HostConfig.AutoRemove}}", name)
	stop := minirun(t, "stop", "-t", "0", name)
	run(t, exec.Command("flock", append([]string{"--shared", filepath.Join(testBed.root, "containers", name, "restart")}, stop.Args...)...))
	says(t, 0, "exited\n", "", "inspect", "-f", "{{.State.Status}}", name)
	says(t, 0, name+"\n", "", "start", name)
	says(t, 0, name+"\n", "", "stop", "-t", "0", name)
	wantNothingOf(t, name)

	c := launch(t, nil, patient...)
	says(t, 1, "", "container "+c.name+" is removed when it ends", "restart", c.name)
	says(t, 0, c.name+"\n", "", "stop", c.name)
	wantStatus(t, c.Cmd, 7)
}

// A container whose launcher was killed is not lost silently, and what is kept stays until
// it is removed.
func TestLifeOfKilledLauncher(t *testing.T) {
	for name, keep := range map[string]bool{"gone": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			c := launch(t, []string{"--rm=" + map[bool]string{true: "false", false: "true"}[keep]}, patient...)
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait()
			eventually(t, "PID 1 dies with its launcher", func() bool { return gone(c.pid1) })
			says(t, 0, "Exited (137)", "container "+c.name+" has ended: its minirun was killed", "ps", "-a", "-f", "name="+c.name)
			says(t, 0, "137\n", "its launcher was killed", "wait", c.name)
			if err := minirun(t, "debian", "true").Run(); err != nil {
				t.Fatal(err)
			}
			if keep {
				says(t, 0, "(minirun killed)\n", "was killed", "ps", "-a", "-f", "name="+c.name, "--format", "{{.Status}}")
				says(t, 0, c.name+"\n", "", "rm", c.name)
			}
			wantNothing(t, c)
		})
	}
}

// No verb waits for the writer of a FIFO, reads a device without end, or takes a directory for a
// file, in the place of a container's files: it says what is wrong.
func TestFilesReplaced(t *testing.T) {
	name := containerName(t)
	dir := filepath.Join(testBed.root, "containers", name)
	for file, verbs := range map[string][]string{
		"json.log":    {"logs", "start"},
		"json.log.1":  {"logs"},
		"state.json":  {"logs", "start", "inspect", "wait", "stop", "rm"},
		"launch.json": {"start", "inspect"},
	} {
		for what, put := range map[string]func(path string) error{
			"FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
			"directory": func(path string) error { return os.Mkdir(path, 0o700) },
			"device":    func(path string) error { return os.Symlink("/dev/zero", path) },
		} {
			detach(t, name, "debian", "true")
			says(t, 0, "0\n", "", "wait", name)
			path := filepath.Join(dir, file)
			_ = os.Remove(path) // there is no json.log.1
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			for _, verb := range verbs {
				cmd := minirun(t, verb, name)
				out, _ := cmd.CombinedOutput()
				text := string(out)
				if code := cmd.ProcessState.ExitCode(); code == 0 || code > 125 || !strings.Contains(text, file) || !strings.Contains(text, "not a regular file") && !strings.Contains(text, "is a directory") {
					t.Errorf("%s of a container with a %s as %s: status %d, %s", verb, what, file, code, text)
				}
			}
			_ = minirun(t, "ps", "-a").Run()
			says(t, 0, name, "", "rm", "-f", name)
			wantNothingOf(t, name)
		}
	}
}
