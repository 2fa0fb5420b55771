package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// A container that is started again has what it had: its environment, its limits, its
// filter, its users, and what it has written. It does not matter what has become of the
// working directory, of the files of flags and of the image's name.
func TestStartAgain(t *testing.T) {
	const see = `grep -E '^(Cap|NoNewPrivs|Seccomp|Groups)' /proc/self/status; id; pwd; env | sort; hostname; stat -c '%A %u:%g %n' /own 2>/dev/null; ls /v; cat /own/* 2>/dev/null
for n in user; do readlink /proc/self/ns/$n | grep -c 40265318; done; ulimit -n; cat /proc/self/oom_score_adj; echo end`
	for name, flags := range map[string][]string{
		"plain":        {"-e", "A=b c", "-e", "OUTER", "-l", "k=v", "-v", "./v:/v"},
		"a profile":    {"--seccomp", "profile.json", "--cap-add", "SYS_ADMIN", "--mount", "type=bind,src=./v,dst=/v", "--env-file", "env"},
		"a user":       {"-u", "1000:5", "--group-add", "44", "--ulimit", "nofile=100:200", "-w", "/srv", "--entrypoint", "sh"},
		"own users":    {"--userns", "auto", "--oom-score-adj", "500", "-m", "64m"},
		"libcontainer": {"--init-by", "libcontainer", "--init"},
		"a volume":     {"-v", "/own", "--explain", "--seccomp", "default"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, box := t.TempDir(), containerName(t)
			if err := os.Mkdir(filepath.Join(dir, "v"), 0o755); err != nil {
				t.Fatal(err)
			}
			profile, err := os.ReadFile("../profiles/default.json")
			if err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{"profile.json": string(profile), "env": "FROM=file\n", "v/seen": ""} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() { _ = minirun(t, "rm", "-f", box).Run() })
			command := []string{"-c", see + "; mkdir -p /own 2>/dev/null; echo kept >/own/$(date +%N) 2>/dev/null; exit 5"}
			if name != "a user" {
				command = append([]string{"sh"}, command...)
			}
			cmd := minirun(t, append(append([]string{"create", "--name", box}, flags...), append([]string{"debian"}, command...)...)...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "OUTER=x")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, file := range []string{"profile.json", "env"} {
				if err := os.Remove(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
			}
			var runs []string
			for range 3 {
				says(t, 0, box+"\n", "", "start", box)
				says(t, 0, "5\n", "", "wait", box)
				out, err := minirun(t, "logs", box).Output()
				if err != nil {
					t.Fatal(err)
				}
				all := strings.SplitAfter(string(out), "end\n")
				runs = append(runs, all[len(all)-2])
			}
			if name == "a user" { // who cannot write there
				if diff := gocmp.Diff(runs[0], runs[2]); diff != "" {
					t.Errorf("the first run -, the third +:\n%s", diff)
				}
				return
			}
			if n := strings.Count(runs[2], "kept\n"); n != 2 {
				t.Errorf("in the third run %d files are left of the two before:\n%s", n, runs[2])
			}
			if diff := gocmp.Diff(runs[1], strings.Replace(runs[2], "kept\n", "", 1)); diff != "" {
				t.Errorf("the second run -, the third +:\n%s", diff)
			}
			says(t, 0, box+"\n", "", "rm", box)
			wantNothingOf(t, box)
		})
	}
}

// With --explain the profile is read again, and must be the same.
func TestStartWithChangedProfile(t *testing.T) {
	box, profile := containerName(t), filepath.Join(t.TempDir(), "p.json")
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", box).Run() })
	text, err := os.ReadFile("../profiles/default.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(profile, text, 0o644); err != nil {
		t.Fatal(err)
	}
	says(t, 0, "", "", "--rm=false", "--name", box, "--explain", "--seccomp", profile, "debian", "true")
	says(t, 0, box, "", "start", box)
	says(t, 0, "0\n", "", "wait", box)
	if err := os.WriteFile(profile, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	says(t, 1, "", "has changed since container "+box+" was made", "start", box)
	says(t, 0, "Exited (0)", "", "ps", "-a", "-f", "name="+box)
}

// Whenever a start is killed, nothing that the container has written is lost, it is seen as
// one that has ended, and it starts the next time.
func TestKilledStartAgain(t *testing.T) {
	box := containerName(t)
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", box).Run() })
	says(t, 3, "", "", "--rm=false", "--name", box, "debian", "sh", "-c", "echo x >>/n; exit 3")
	dir := filepath.Join(testBed.root, "containers", box)
	for i := range 24 {
		start := minirun(t, "start", box)
		start.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := start.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(rand.IntN(60)) * time.Millisecond) // any moment
		if pid := lockHolder(dir); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if i%2 == 0 {
			_ = start.Process.Kill()
		}
		_ = start.Wait()
		eventually(t, "nobody is at work on it", func() bool { return lockHolder(dir) == 0 })
		eventually(t, "it has ended", func() bool { // its init dies with its launcher
			out, err := minirun(t, "ps", "-a", "-f", "name=^"+box+"$", "--format", "{{.State}}").Output()
			return err == nil && string(out) == "exited\n"
		})
	}
	says(t, 0, box+"\n", "", "start", box)
	says(t, 0, "3\n", "", "wait", box)
	says(t, 0, "A /n\n", "", "diff", box)
	says(t, 0, box+"\n", "", "rm", box)
	wantNothingOf(t, box)
}

// lockHolder returns the process that holds the lock of a container's directory, or 0.
func lockHolder(dir string) int {
	var stat syscall.Stat_t
	if syscall.Stat(dir, &stat) != nil {
		return 0
	}
	locks, _ := os.ReadFile("/proc/locks")
	for line := range strings.Lines(string(locks)) {
		var pid int
		fields := strings.Fields(line)
		if len(fields) > 5 && fields[1] == "FLOCK" && strings.HasSuffix(fields[5], fmt.Sprint(":", stat.Ino)) {
			_, _ = fmt.Sscan(fields[4], &pid)
			return pid
		}
	}
	return 0
}
