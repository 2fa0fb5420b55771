package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ociLifecycle has every verb of a container's life in a process of its own.
func ociLifecycle(t *testing.T, root string) {
	b := newBundle(t, root, func(s *specs.Spec) {
		shell("mkdir /x; grep Seccomp: /proc/self/status; sleep 1000")(s)
		s.Version = "1.2.0"
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{
			Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: new(uint(unix.ENOSPC)),
		}}}
	})
	output := b.create("life", "--pid-file", "pid")
	status := func(want string) {
		t.Helper()
		if s := b.state("life"); string(s.Status) != want {
			t.Errorf("%s, not %s", s.Status, want)
		}
	}
	status("created")
	if pid, _ := os.ReadFile(filepath.Join(b.dir, "pid")); string(pid) != strconv.Itoa(b.state("life").Pid) {
		t.Errorf("pid file %q", pid)
	}
	b.refused(1, "container with given ID already exists", "create", "life")
	b.refused(255, "container does not exist", "exec", "nosuch-life", "true")
	b.must("start", "life")
	b.refused(1, "cannot start an already running container", "start", "life")
	status("running")
	waitFor(t, output, "Seccomp:\t2\n")
	if text, _ := os.ReadFile(output); !strings.Contains(string(text), "No space left on device") {
		t.Errorf("PID 1: %s", text)
	}
	_, errs, code := b.run("minirun", "exec", "life", "mkdir", "/y")
	if code != 1 || !strings.Contains(errs, "No space left on device") {
		t.Errorf("exec: %d %s", code, errs)
	}
	b.must("pause", "life")
	status("paused")
	b.refused(255, "cannot exec in a paused container", "exec", "life", "true")
	b.refused(1, "that is not stopped", "delete", "life")
	b.must("resume", "life")
	if out := b.must("ps", "-f", "json", "life"); strings.Count(out, ",") != 1 {
		t.Errorf("ps: %s", out)
	}
	b.must("update", "--pids-limit", "33", "life")
	none := filepath.Join(b.dir, "resources.json") // no limit, for this version of the specification
	if err := os.WriteFile(none, []byte(`{"pids":{"limit":0}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.must("update", "--resources", none, "life")
	var event struct {
		Data struct{ Pids struct{ Limit int } }
	}
	if err := json.Unmarshal([]byte(b.must("events", "--stats", "life")), &event); err != nil || event.Data.Pids.Limit != 33 {
		t.Errorf("events: %+v %v", event, err)
	}
	b.must("kill", "life", "KILL")
	for b.state("life").Status != specs.StateStopped {
	}
	b.refused(1, "container not running", "kill", "life", "KILL")
	b.must("kill", "--all", "life", "KILL")
	b.refused(255, "cannot exec in a stopped container", "exec", "life", "true")
	b.refused(1, "cannot start a container that has stopped", "start", "life")
	b.must("delete", "life")
	b.refused(1, "container does not exist", "delete", "life")
	if out := b.must("list", "-q"); out != "" {
		t.Errorf("left: %s", out)
	}
}

func (b *ociBundle) state(id string) specs.State {
	b.t.Helper()
	var s specs.State
	if err := json.Unmarshal([]byte(b.must("state", id)), &s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *ociBundle) refused(want int, why string, args ...string) {
	b.t.Helper()
	if _, errs, status := b.run("minirun", args...); status != want || !strings.Contains(errs, why) {
		b.t.Errorf("%q: status %d: %s", args, status, errs)
	}
}

func waitFor(t *testing.T, file, text string) {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		data, _ := os.ReadFile(file)
		if strings.Contains(string(data), text) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: %s", file, data)
		case <-time.After(time.Millisecond):
		}
	}
}

// ociFailures: whatever fails leaves nothing, and says why.
func ociFailures(t *testing.T, root string) {
	for _, test := range []struct {
		name, want string
		change     func(*specs.Spec)
	}{
		{"not found", "executable file not found in $PATH", func(s *specs.Spec) { s.Process.Args = []string{"nosuch"} }},
		{"no file", "no such file or directory", func(s *specs.Spec) { s.Process.Args = []string{"/no/such"} }},
		{"not executable", "permission denied", func(s *specs.Spec) { s.Process.Args = []string{"/etc/passwd"} }},
		{"no script", "exec format error (hint: a script begins with a line that names its interpreter", func(s *specs.Spec) { s.Process.Args = []string{"/noscript"} }},
		{"denies execve", "linux.seccomp: the profile denies execve", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
		}},
		{"hook", "exit status 9", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "exit 9"}}}}
		}},
		{"hook inside", "startContainer hook #0, /bin/sh: exit status 9: said\"", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo said; exit 9"}}}}
		}},
		{"late hook", "createRuntime hook #0: hook ran past specified timeout of 1.0s\"", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Timeout: new(1)}}}
		}},
		{"late hook inside", "startContainer hook #0, /bin/sleep: hook ran past specified timeout of 1.0s\"", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Timeout: new(1)}}}
		}},
		{"mount", "no such file or directory", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/m", Source: "/no/such", Type: "bind", Options: []string{"bind"}})
		}},
		{"proc is a link", "", func(s *specs.Spec) { s.Root.Path = filepath.Join(root, "linked") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.MkdirAll(filepath.Join(root, "linked"), 0o755); err != nil {
				t.Fatal(err)
			}
			_ = os.Symlink("/etc", filepath.Join(root, "linked/proc"))
			if err := os.WriteFile(filepath.Join(root, "noscript"), []byte("echo x\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			b := newBundle(t, root, func(s *specs.Spec) {
				shell("echo started")(s)
				s.Linux.CgroupsPath = "/oci-test-failures"
				test.change(s)
			})
			out, errs, status := b.run("minirun", "run", "fails")
			if status != 1 || !strings.Contains(errs, test.want) || out != "" {
				t.Errorf("status %d: %s %s", status, errs, out)
			}
			if out := b.must("list", "-q"); out != "" {
				t.Errorf("left: %s", out)
			}
		})
	}
}
