package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// settings returns a directory for in front of /etc, with a runtime.json that allows all
// annotations, and directories for them beside it.
func settings(t *testing.T) (etc string) {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(map[string]any{
		"annotations": []string{"org.minirun.explain", "org.minirun.complain", "org.minirun.record", "org.minirun.seccomp-profile"},
		"reports":     filepath.Join(dir, "reports"), "records": filepath.Join(dir, "records"),
	})
	if err != nil {
		t.Fatal(err)
	}
	etc = filepath.Join(dir, "etc")
	if err := os.MkdirAll(filepath.Join(etc, "minirun"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(etc, "minirun/runtime.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return etc
}

// withEtc returns a command that sees files in front of those of /etc.
func withEtc(etc string, args []string) *exec.Cmd {
	mount := `mount -t overlay -o lowerdir="$0":/etc etc /etc && exec "$@"`
	return exec.Command("unshare", append([]string{"--mount", "sh", "-c", mount, etc}, args...)...)
}

// annotatedBundle is a bundle that denies mkdir by ENOSPC.
func annotatedBundle(t *testing.T, root, etc, script string, annotations map[string]string) *ociBundle {
	t.Helper()
	b := newBundle(t, root, func(s *specs.Spec) {
		shell(script)(s)
		s.Annotations = annotations
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{
			Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: new(uint(unix.ENOSPC)),
		}}}
	})
	b.etc = etc
	return b
}

// ociAnnotations: annotations do what flags do in a launch, and only what is allowed.
func ociAnnotations(t *testing.T, root string) {
	etc := settings(t)
	needTracing(t)
	for _, test := range []struct {
		name        string
		annotations map[string]string
		status      int
		want        string // in what is printed
		file        string // beside etc
		content     string // has all these words
	}{
		{"explain", map[string]string{"explain": "stderr"}, 1, `minirun: denied: mkdir("/x", 0777) by mkdir (PID`, "", ""},
		{"position", map[string]string{"explain": "stderr"}, 1, "config.json:1:", "", ""},
		{"explain to a file", map[string]string{"explain": "reports.json"}, 1, "No space left", "reports/reports.json", `"call":"mkdir" "verdict":"ERRNO(ENOSPC)"`},
		{"complain", map[string]string{"complain": "true"}, 0, `minirun: would be denied: mkdir("/x"`, "", ""},
		{"complain to a file", map[string]string{"complain": "true", "explain": "passed.json"}, 0, "", "reports/passed.json", `"passed":true`},
		{"record", map[string]string{"record": "of-sh"}, 1, "No space left", "records/of-sh/sh.json", `"openat" "execve"`},
		{"record and complain", map[string]string{"record": "all", "complain": "true"}, 0, "", "records/all/sh.json", `"mkdir"`},
		{"profile", map[string]string{"seccomp-profile": "default"}, 0, "", "", ""},
		{"not in the directory", map[string]string{"explain": "../x"}, 1, "is not the name of something in ", "", ""},
		{"not true", map[string]string{"complain": "yes"}, 1, "it is true or false", "", ""},
		{"unknown", map[string]string{"nosuch": ""}, 1, "annotation org.minirun.nosuch is not allowed here", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			annotations := map[string]string{}
			for name, value := range test.annotations {
				annotations["org.minirun."+name] = value
			}
			b := annotatedBundle(t, root, etc, "mkdir /x && rmdir /x", annotations)
			out, errs, status := b.run("minirun", "run", "annotated")
			if status != test.status || !strings.Contains(out+errs, test.want) {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
			if out := b.must("list", "-q"); out != "" {
				t.Errorf("left: %s", out)
			}
			if test.file == "" {
				return
			}
			text, err := os.ReadFile(filepath.Join(filepath.Dir(etc), test.file))
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range strings.Fields(test.content) {
				if !strings.Contains(string(text), word) {
					t.Errorf("no %s in %s", word, text)
				}
			}
		})
	}
}

// ociSupervisor: what observes a container between two calls of the engine's sees exec, too, but not the way
// into the container; nothing is lost with delete, and nothing is left without it.
func ociSupervisor(t *testing.T, root string) {
	needTracing(t)
	etc := settings(t)
	observed := map[string]string{"org.minirun.explain": "stderr", "org.minirun.record": "exec"}
	b := annotatedBundle(t, root, etc, "sleep 1000", observed)
	output := b.create("observed")
	b.must("start", "observed")
	if _, errs, status := b.run("minirun", "exec", "observed", "mkdir", "/y"); status != 1 || !strings.Contains(errs, "No space left") {
		t.Errorf("exec: %d %s", status, errs)
	}
	b.must("delete", "--force", "observed")
	text, err := os.ReadFile(output)
	if err != nil || !strings.Contains(string(text), `denied: mkdir("/y"`) || strings.Contains(string(text), "runc:") {
		t.Errorf("%v %s", err, text)
	}
	profile, err := os.ReadFile(filepath.Join(filepath.Dir(etc), "records/exec/sh.json"))
	if err != nil || !strings.Contains(string(profile), `"execve"`) || strings.Contains(string(profile), `"setns"`) || strings.Contains(string(profile), `"epoll_ctl"`) {
		t.Errorf("%v %s", err, profile)
	}

	b = annotatedBundle(t, root, etc, "true", observed)
	b.create("fails")
	b.must("kill", "fails", "KILL")
	for b.state("fails").Status != specs.StateStopped {
	}
	b.refused(1, "cannot start a container that has stopped", "start", "fails")

	b = annotatedBundle(t, root, etc, "sleep 1000", observed)
	b.create("killed")
	b.must("start", "killed")
	var supervisor struct{ PID int }
	data, err := os.ReadFile(filepath.Join(b.root, "containers/killed/supervisor.json"))
	if err == nil {
		err = json.Unmarshal(data, &supervisor)
	}
	if err == nil {
		err = unix.Kill(supervisor.PID, unix.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the supervisor's end", func() bool { return gone(supervisor.PID) })
	if _, errs, status := b.run("minirun", "exec", "killed", "mkdir", "/y"); status != 1 || !strings.Contains(errs, "No space left") {
		t.Errorf("exec without a supervisor: %d %s", status, errs)
	}
	b.must("delete", "--force", "killed")
	if left, err := filepath.Glob(filepath.Join(b.root, "*/*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
