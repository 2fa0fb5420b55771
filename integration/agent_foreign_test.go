package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/testenv"
)

// toolProgram builds a program of a module of tools/, which has its version.
func toolProgram(t *testing.T, module, source string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), path.Base(source))
	if !built(t, program) {
		build := inMachineNetwork(t, testenv.Program(t, "go"), "-C", "../tools/"+module, "build", "-tags=seccomp", "-o", program, source)
		build.Env = append(os.Environ(), "GOFLAGS=") // no tags of minirun's
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return program
}

// startForeignAgent builds an agent of tools/seccompagent, and starts it in the network of the
// tests.
func startForeignAgent(t *testing.T, socket, source string, flags ...string) {
	t.Helper()
	program := toolProgram(t, "seccompagent", source)
	agent := exec.Command(program, flags...)
	agent.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() }) // it goes on when no process has the filter any more
	eventually(t, "the agent's socket", func() bool { return exists(socket) })
}

// debianLayer returns the store's copy of the image debian, which nobody may change.
func debianLayer(t *testing.T) string {
	t.Helper()
	const layers = `{{range $name, $dirs := .GraphDriver.Data}}{{$name}} {{$dirs}}{{end}}`
	said := outputOf(t, exec.Command(testBed.minirun, "inspect", "--type", "image", "-f", layers, "debian"))
	dir, ok := strings.CutPrefix(strings.TrimSpace(said), "UpperDir ")
	if !ok { // there are more
		return debianRoot(t)
	}
	return dir
}

// Agents of others decide for containers of runc, of an engine's minirun, and of minirun's as
// they are meant to: runc's own has mkdir make another directory, and chmod fail in an odd
// way; bypass4netns puts a socket of this network in the place of one of the container's.
func TestForeignAgents(t *testing.T) {
	testenv.Program(t, "runc")
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, "outside")
			c.Close()
		}
	}()
	connect := fmt.Sprintf(`socket(S, AF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in(%d, INADDR_LOOPBACK)) or die "$!"; print <S>`, server.Addr().(*net.TCPAddr).Port)
	root, dir := debianLayer(t), t.TempDir()
	for name, test := range map[string]struct {
		source  string
		flags   []string
		calls   []string // which it decides
		command []string
		stdout  string
		stderr  string
		status  int
	}{
		"runc": {
			"github.com/opencontainers/runc/contrib/cmd/seccompagent",
			[]string{"-socketfile", filepath.Join(dir, "runc")},
			[]string{"mkdir", "mkdirat", "chmod", "fchmod", "fchmodat"},
			[]string{"sh", "-c", "mkdir /dev/shm/foo && ls /dev/shm && chmod 700 /dev/shm/foo-bar"},
			"foo-bar\n", "chmod: changing permissions of '/dev/shm/foo-bar': No medium found\n", 1,
		},
		"bypass4netns": {
			"github.com/rootless-containers/bypass4netns/cmd/bypass4netns",
			[]string{"--ignore=10.0.0.0/8", "--socket", filepath.Join(dir, "bypass4netns")},
			[]string{"bind", "close", "connect", "setsockopt", "fcntl", "_exit", "exit_group", "getpeername"},
			[]string{"perl", "-MSocket", "-e", connect},
			"outside\n", "", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(dir, name)
			startForeignAgent(t, socket, test.source, test.flags...)
			profile := &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow, ListenerPath: socket, ListenerMetadata: "bar",
				Syscalls: []specs.LinuxSyscall{{Names: test.calls, Action: specs.ActNotify}},
			}
			file := filepath.Join(t.TempDir(), "p.json")
			writeJSON(t, file, profile)
			b := newBundle(t, root, func(s *specs.Spec) {
				s.Root.Readonly = true
				s.Process.Args, s.Linux.Seccomp = test.command, profile
			})
			const id = "minirun-foreign-agent"
			for who, run := range map[string]func() (stdout, stderr string, status int){
				"runc":        func() (string, string, int) { return b.run("runc", "run", id) },
				"minirun oci": func() (string, string, int) { return b.run("minirun", "run", id) },
				"minirun": func() (string, string, int) {
					return explained(t, append([]string{"--network", "none", "--seccomp", file, "debian"}, test.command...)...)
				},
			} {
				if stdout, stderr, status := run(); stdout != test.stdout || stderr != test.stderr || status != test.status {
					t.Errorf("%s: status %d, want %d: %s%s", who, status, test.status, stdout, stderr)
				}
			}
		})
	}
}
