package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

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
