package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
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

// runs is a container whose command does nothing.
func runs(t *testing.T, flags ...string) *launched {
	t.Helper()
	return launch(t, flags, "sh", "-c", "echo ready; while :; do sleep 1000; done")
}

// A command of exec has what the container's own has.
func TestExec(t *testing.T) {
	const see = `grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' /proc/self/status; cat /proc/self/cgroup; id; pwd; env | sort; umask
for n in cgroup ipc mnt net pid uts user; do readlink /proc/self/ns/$n; done; ulimit -n; cat /proc/self/oom_score_adj`
	for name, flags := range map[string][]string{
		"plain":        nil,
		"capabilities": {"--cap-add", "SYS_ADMIN", "--cap-drop", "CHOWN", "-e", "A=1", "-w", "/srv"},
		"user":         {"-u", "1000:5", "--group-add", "44", "--security-opt", "no-new-privileges", "--ulimit", "nofile=100:200"},
		"host":         {"--network", "host", "--uts", "host", "--ipc", "host", "--cgroupns", "host"},
		"privileged":   {"--privileged"},
		"init":         {"--init", "--oom-score-adj", "500"},
		"libcontainer": {"--init-by", "libcontainer"},
		"own users":    {"--userns", "auto", "-u", "1000:5", "--ulimit", "nofile=100:200", "--oom-score-adj", "500"},
		"unconfined":   {"--seccomp", "unconfined", "-e", "HOME=/tmp"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			c := launch(t, append([]string{"-v", dir + ":/seen"}, flags...), "sh", "-c", "("+see+") > /seen/own; echo ready; while :; do sleep 1000; done")
			own, err := os.ReadFile(filepath.Join(dir, "own"))
			if err != nil {
				t.Fatal(err)
			}
			out, err := minirun(t, "exec", c.name, "sh", "-c", "("+see+")").Output()
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(string(own), string(out)); diff != "" {
				t.Errorf("the container's own -, exec's +:\n%s", diff)
			}
		})
	}
}

func TestExecStatus(t *testing.T) {
	c := runs(t, "-e", "A=1")
	for _, tt := range []struct {
		args           string
		status         int
		stdout, stderr string
	}{
		{"true", 0, "", ""},
		{"sh -c exit\\ 9", 9, "", ""},
		{"sh -c kill\\ -9\\ $$", 137, "", ""},
		{"no-such", 127, "", "run no-such: executable file not found in $PATH"},
		{"/etc", 126, "", "run /etc: "},
		{"/etc/passwd", 126, "", "run /etc/passwd: permission denied"},
	} {
		says(t, tt.status, tt.stdout, tt.stderr, append([]string{"exec", c.name}, words(tt.args)...)...)
	}
	says(t, 126, "", "unable to find user nosuch: no matching entries in passwd file", "exec", "-u", "nosuch", c.name, "true")
	says(t, 126, "", "/nosuch: no such file or directory", "exec", "-w", "/nosuch", c.name, "true")
	says(t, 126, "", "cwd must be an absolute path", "exec", "-w", "srv", c.name, "true")
	says(t, 1, "", "the input device is not a TTY", "exec", "-it", c.name, "true")
	says(t, 125, "", "an argument is missing", "exec", c.name)
	says(t, 1, "", "no such container: nosuch", "exec", "nosuch", "true")
	says(t, 0, "1:2 2 3 /usr/sbin\n", "", "exec", "-e", "A=2", "-e", "B=3", "-u", "1:2", c.name, "sh", "-c", "echo $(id -u):$(id -g) $A $B $HOME")
	all, err := minirun(t, "--privileged", "debian", "grep", "CapEff", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	says(t, 0, string(all), "", "exec", "--privileged", c.name, "grep", "CapEff", "/proc/self/status")

	cat := minirun(t, "exec", "-i", c.name, "cat")
	cat.Stdin = strings.NewReader("hello")
	if out, err := cat.Output(); err != nil || string(out) != "hello" {
		t.Errorf("cat: %v, %q", err, out)
	}
	says(t, 0, "", "", "exec", "-d", c.name, "sleep", "4321")
	eventually(t, "what exec -d started runs", func() bool { return commandRuns("sleep\x004321\x00") })
	says(t, 0, "", "", "exec", "-d", "-t", c.name, "sh", "-c", "[ -t 0 ] && [ -t 1 ] && echo seen && exec sleep 4322")
	eventually(t, "what exec -d -t started runs", func() bool { return commandRuns("sleep\x004322\x00") })
	says(t, 127, "", "run no-such: executable file not found in $PATH", "exec", "-dt", c.name, "no-such")
	says(t, 1, c.name+"\n", "no such container", "stop", "-t", "0", c.name, "nosuch")
	if commandRuns("sleep\x004321\x00") {
		t.Error("it outlived its container")
	}
	wantNothing(t, c)

	name := containerName(t) + "-ended"
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", name).Run() })
	says(t, 0, "", "", "--rm=false", "--name", name, "debian", "true")
	says(t, 1, "", " is not running", "exec", name, "true")
	says(t, 0, "exited 0\n", "", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)
	says(t, 0, name, "", "rm", name)
}

// words splits a command line at spaces without a backslash.
func words(line string) []string {
	return strings.Split(strings.ReplaceAll(strings.ReplaceAll(line, " ", "\x00"), "\\\x00", " "), "\x00")
}

// commandRuns reports whether a process has that command line, with a NUL after each argument.
func commandRuns(line string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	return slices.ContainsFunc(files, func(file string) bool {
		text, _ := os.ReadFile(file) // it may have ended
		return string(text) == line
	})
}

// SIGTERM and SIGKILL of exec end its command.
func TestExecEnds(t *testing.T) {
	c := runs(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		cmd := minirun(t, "exec", c.name, "sleep", "5432")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it runs", func() bool { return commandRuns("sleep\x005432\x00") })
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		eventually(t, "it ends", func() bool { return !commandRuns("sleep\x005432\x00") })
	}
}

// A hostile container gets at nothing of exec's: not at minirun's binary, also if the command
// is minirun's own executable (CVE-2019-5736), not at a descriptor (CVE-2024-21626), and its
// files do not lead out of it, or make exec wait.
func TestExecHostile(t *testing.T) {
	before, err := os.ReadFile(testBed.minirun)
	if err != nil {
		t.Fatal(err)
	}
	const attack = `$| = 1; my @held; my $me = $$; $SIG{USR1} = sub { sleep };
open F, ">", "/target"; print F "#!/proc/self/exe\n"; close F; chmod 0755, "/target"; print "ready\n";
while (1) {
  opendir my $d, "/proc";
  for my $pid (grep { /^\d+$/ && $_ != $me } readdir $d) {
    if (open my $h, "<", "/proc/$pid/exe") { push @held, $h unless readlink("/proc/self/fd/" . fileno $h) =~ m{^/usr/bin/} }
  }
  for my $h (@held) {
    print "held\n" unless $told++;
    if (open my $w, "+<", "/proc/self/fd/" . fileno $h) { syswrite $w, "#!/bin/sh\necho overwritten\n" and print "overwritten\n" }
  }
  @held = @held[-50 .. -1] if @held > 50;
}`
	c := launch(t, nil, "perl", "-e", attack)
	said := &strings.Builder{}
	reader, done := c.output, make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(said, reader)
	}()
	for range 12 {
		_ = minirun(t, "exec", c.name, "/target").Run()
		_ = minirun(t, "exec", c.name, "true").Run()
	}
	says(t, 0, c.name, "", "kill", "-s", "USR1", c.name) // the attack is over: it would only take time
	for fd := range 12 {
		cmd := minirun(t, "exec", "-w", fmt.Sprintf("/proc/self/fd/%d", fd), c.name, "pwd")
		if out, err := cmd.Output(); err == nil {
			t.Errorf("descriptor %d is a working directory: %s", fd, out)
		}
	}
	if out, err := minirun(t, "exec", c.name, "sh", "-c", "n=3; while [ $n -lt 256 ]; do [ ! -L /proc/$$/fd/$n ] || readlink /proc/$$/fd/$n; n=$((n+1)); done").Output(); err != nil || len(out) > 0 {
		t.Errorf("the command got files: %v %s", err, out)
	}
	for _, passwd := range []string{"mkfifo /etc/passwd", "ln -s /proc/1/fd/0 /etc/passwd", "ln -s ../../../../../../etc/passwd /etc/passwd", "ln -s /etc/passwd /etc/passwd", "mkdir /etc/passwd"} {
		if out, err := minirun(t, "exec", c.name, "sh", "-c", "rm -rf /etc/passwd /etc/group; "+passwd).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		cmd := minirun(t, "exec", "-u", "root", c.name, "id")
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("%s: root is somebody: %s", passwd, out)
		}
	}
	says(t, 0, c.name, "", "kill", c.name)
	<-done
	_ = c.Wait()
	if text := said.String(); !strings.Contains(text, "held") || strings.Contains(text, "overwritten") {
		t.Errorf("the attack said %q", text)
	}
	if after, err := os.ReadFile(testBed.minirun); err != nil || !bytes.Equal(before, after) {
		t.Errorf("minirun's binary has changed (%v)", err)
	}
}

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
	says(t, 0, "", "", "exec", name, "touch", "/end")
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
