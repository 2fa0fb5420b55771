package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/testenv"
)

// runcAgent builds runc's own seccomp agent, and starts it at a socket.
func runcAgent(t *testing.T, socket string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "seccompagent")
	build := inMachineNetwork(t, testenv.Program(t, "go"), "-C", "../tools/seccompagent", "build", "-tags=seccomp", "-o", program, "github.com/opencontainers/runc/contrib/cmd/seccompagent")
	build.Env = append(os.Environ(), "GOFLAGS=") // no tags of minirun's
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	agent := exec.Command(program, "-socketfile", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() }) // it goes on when no process has the filter any more
	eventually(t, "the agent's socket", func() bool { return exists(socket) })
}

// runc's own agent decides for containers of runc, of an engine's minirun, and of minirun's as
// it is meant to: mkdir makes another directory, and chmod fails in an odd way.
func TestRuncAgent(t *testing.T) {
	testenv.Program(t, "runc")
	socket := filepath.Join(t.TempDir(), "agent.sock")
	runcAgent(t, socket)
	profile := &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: socket, ListenerMetadata: "bar",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat", "chmod", "fchmod", "fchmodat"}, Action: specs.ActNotify}},
	}
	file := filepath.Join(t.TempDir(), "p.json")
	writeJSON(t, file, profile)
	command := []string{"sh", "-c", "mkdir /dev/shm/foo && ls /dev/shm && chmod 700 /dev/shm/foo-bar"}
	b := newBundle(t, debianRoot(t), func(s *specs.Spec) {
		s.Process.Args, s.Linux.Seccomp = command, profile
	})
	const name = "minirun-runc-agent"
	want, wantErr, wantStatus := b.run("runc", "run", name)
	if want != "foo-bar\n" || wantErr != "chmod: changing permissions of '/dev/shm/foo-bar': No medium found\n" || wantStatus != 1 {
		t.Fatalf("runc: status %d: %s%s", wantStatus, want, wantErr)
	}
	for who, run := range map[string]func() (stdout, stderr string, status int){
		"minirun oci": func() (string, string, int) { return b.run("minirun", "run", name) },
		"minirun": func() (string, string, int) {
			return explained(t, append([]string{"--seccomp", file, "debian"}, command...)...)
		},
	} {
		if stdout, stderr, status := run(); stdout != want || stderr != wantErr || status != wantStatus {
			t.Errorf("%s: status %d, want %d: %s%s", who, status, wantStatus, stdout, stderr)
		}
	}
}
