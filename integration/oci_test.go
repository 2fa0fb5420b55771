package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// ociBundle is a bundle with the image debian, whose root all bundles of a test share.
type ociBundle struct {
	t    *testing.T
	dir  string
	root string // --root of the runtime
	etc  string // what minirun has in front of the machine's /etc, or ""
}

// newBundle makes a bundle of the runtime's own example with a change.
func newBundle(t *testing.T, rootfs string, change func(*specs.Spec)) *ociBundle {
	t.Helper()
	b := &ociBundle{t: t, dir: t.TempDir(), root: t.TempDir()}
	outputOf(t, exec.Command(testBed.minirun, "oci", "spec", "--bundle", b.dir))
	data, err := os.ReadFile(filepath.Join(b.dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	s.Root.Path, s.Root.Readonly, s.Process.Terminal = rootfs, false, false
	change(&s)
	if data, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// command is a call of a runtime: "runc", or minirun's own.
func (b *ociBundle) command(runtime string, args ...string) *exec.Cmd {
	name, first := testBed.minirun, []string{"oci", "--root", b.root}
	if runtime == "runc" {
		name, first = "runc", []string{"--root", b.root + "-runc"}
	}
	cmd := exec.Command(name, append(first, args...)...)
	if b.etc != "" {
		cmd = withEtc(b.etc, cmd.Args)
	}
	cmd.Dir = b.dir
	cmd.WaitDelay = 5 * time.Second // a container has the command's pipes
	return cmd
}

// run returns what a call prints, and its status.
func (b *ociBundle) run(runtime string, args ...string) (stdout, stderr string, status int) {
	b.t.Helper()
	cmd := b.command(runtime, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		b.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is run for a call that succeeds.
func (b *ociBundle) must(args ...string) string {
	b.t.Helper()
	out, errs, status := b.run("minirun", args...)
	if status != 0 {
		b.t.Fatalf("%s: status %d: %s", args, status, errs)
	}
	return out
}

// create creates the container of the bundle, whose output goes to the returned file.
func (b *ociBundle) create(id string, flags ...string) (output string) {
	b.t.Helper()
	output = filepath.Join(b.dir, "output")
	f, err := os.Create(output)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	cmd := b.command("minirun", append(append([]string{"create"}, flags...), id)...)
	cmd.Stdout, cmd.Stderr = f, f
	b.t.Cleanup(func() { b.must("delete", "--force", id) })
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(output)
		b.t.Fatalf("create: %v: %s", err, text)
	}
	return output
}

func debianRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	pack := exec.Command(testBed.minirun, "--root", testBed.root, "debian", "tar", "-C", "/", "-c", "--one-file-system", ".")
	unpack := exec.Command("tar", "-C", dir, "-x")
	var err error
	if unpack.Stdin, err = pack.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := pack.Start(); err != nil {
		t.Fatal(err)
	}
	outputOf(t, unpack)
	if err := pack.Wait(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func hookList(kind string) []specs.Hook {
	return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", `grep -o '"status":"[a-z]*"' | sed "s/^/` + kind + ` /" >>/tmp/hooks`}}}
}

// TestOCI has minirun oci run bundles.
func TestOCI(t *testing.T) {
	root := debianRoot(t)
	for _, test := range []struct {
		name string
		test func(t *testing.T, root string)
	}{
		{"as runc", ociAsRunc},
		{"init", ociInit},
		{"mapped mounts", ociMappedMounts},
		{"lifecycle", ociLifecycle},
		{"failures", ociFailures},
		{"leaked descriptors", ociLeakedDescriptors},
		{"overwrite", ociOverwrite},
		{"files", ociFiles},
		{"console", ociConsole},
		{"pidfd", ociPidfd},
		{"listener", ociListener},
		{"notify", ociNotify},
		{"annotations", ociAnnotations},
		{"supervisor", ociSupervisor},
	} {
		t.Run(test.name, func(t *testing.T) { test.test(t, root) })
	}
}

// ociAsRunc compares what containers of bundles print with runc's.
func ociAsRunc(t *testing.T, root string) {
	_, err := exec.LookPath("runc")
	testenv.Need(t, "runc", err == nil)
	own := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
	for _, test := range []struct {
		name, script string
		change       func(*specs.Spec)
	}{
		{"plain", "id; env | sort; ls -l /dev | wc -l; cat /proc/self/limits; grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status; exit 3", nil},
		{"environment", "env | sort", func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "A=1", "A=2", "HOME=") }},
		{"home", "echo $HOME", func(s *specs.Spec) { s.Process.User.UID = 1 }},
		{"user namespace", "cat /proc/self/uid_map; id; grep Seccomp: /proc/self/status", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			s.Linux.UIDMappings, s.Linux.GIDMappings = own, own
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		}},
		{"absolute cgroup", "cat /proc/self/cgroup", func(s *specs.Spec) {
			s.Linux.CgroupsPath = "/oci-test/a"
			dropNamespace(s, specs.CgroupNamespace)
		}},
		{"relative cgroup", "cat /proc/self/cgroup", func(s *specs.Spec) {
			s.Linux.CgroupsPath = "oci-test/b"
			dropNamespace(s, specs.CgroupNamespace)
		}},
		{"no namespaces", "readlink /proc/self/ns/uts /proc/self/ns/ipc /proc/self/ns/net /proc/self/ns/pid", func(s *specs.Spec) {
			for _, kind := range []specs.LinuxNamespaceType{specs.UTSNamespace, specs.IPCNamespace, specs.NetworkNamespace, specs.PIDNamespace} {
				dropNamespace(s, kind)
			}
			s.Hostname = ""
		}},
		{"relative paths", "cat /m", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/m", Source: "config.json", Type: "bind", Options: []string{"bind", "ro"}})
			s.Annotations = nil
			s.Process.Args = []string{"test", "-s", "/m"}
		}},
		{"capabilities", "grep Cap /proc/self/status", func(s *specs.Spec) {
			caps := []string{"CAP_KILL", "CAP_CHOWN"}
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: caps, Ambient: caps[:1]}
			s.Process.User.UID = 5
		}},
		{"umask and oom score", "umask; cat /proc/self/oom_score_adj", func(s *specs.Spec) {
			s.Process.User.Umask, s.Process.OOMScoreAdj = new(uint32(0o27)), new(500)
		}},
		{"hooks", "echo in", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{
				Prestart:      hookList("prestart"), //nolint:staticcheck // engines still have it
				CreateRuntime: hookList("createRuntime"), CreateContainer: hookList("createContainer"),
				StartContainer: hookList("startContainer"), Poststop: hookList("poststop"),
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBundle(t, root, func(s *specs.Spec) {
				s.Process.Args = []string{"sh", "-c", test.script}
				if test.change != nil {
					test.change(s)
				}
			})
			var results [2]string
			for i, runtime := range []string{"runc", "minirun"} {
				out, errs, status := b.run(runtime, "run", "same")
				for _, file := range []string{"/tmp/hooks", filepath.Join(root, "tmp/hooks")} {
					text, _ := os.ReadFile(file)
					os.Remove(file)
					out += string(text)
				}
				results[i] = fmt.Sprintf("%s%s[%d]", out, errs, status)
			}
			if diff := cmp.Diff(results[0], results[1]); diff != "" {
				t.Errorf("runc -, minirun +:\n%s", diff)
			}
		})
	}
}

// ociMappedMounts: a mount of a bundle has the owners that its mappings say, beside a user
// namespace or without (runtime-spec, config.md, "Mounts").
func ociMappedMounts(t *testing.T, root string) {
	for _, users := range []bool{false, true} {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "theirs"), nil, 0o600), os.Chmod(filepath.Dir(dir), 0o711)); err != nil {
			t.Fatal(err)
		}
		b := newBundle(t, root, func(s *specs.Spec) {
			mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000000, Size: 2000}}
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/mnt", Source: dir, Type: "bind", Options: []string{"bind"}, UIDMappings: mapping, GIDMappings: mapping})
			s.Process.Args = []string{"sh", "-c", "stat -c %u:%g /mnt/theirs; touch /mnt/own"}
			s.Process.User.UID, s.Process.User.GID = 1000000, 1000000
			s.Process.Capabilities = &specs.LinuxCapabilities{}
			if users {
				s.Process.User.UID, s.Process.User.GID = 0, 0
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
				s.Linux.UIDMappings, s.Linux.GIDMappings = mapping, mapping
			}
		})
		run(t, exec.Command("chmod", "711", filepath.Dir(root)))
		want := map[bool]string{false: "1000000:1000000\n", true: "0:0\n"}[users]
		if got := b.must("run", "mapped"); got != want {
			t.Errorf("with a user namespace %v: the host's root is %q, want %q", users, got, want)
		}
		if uid, gid := owner(t, filepath.Join(dir, "own")); uid != 0 || gid != 0 {
			t.Errorf("with a user namespace %v: what the container made is %d:%d's on the host", users, uid, gid)
		}
	}
}

// ociInit: containers of engines are set up from a plan, as launches are.
func ociInit(t *testing.T, root string) {
	hooks := &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true"}}}
	pod := func(s *specs.Spec) {
		for i, n := range s.Linux.Namespaces {
			if name := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts"}[n.Type]; name != "" {
				s.Linux.Namespaces[i].Path = "/proc/" + strconv.Itoa(os.Getpid()) + "/ns/" + name
			}
		}
		s.Hostname = ""
	}
	for _, test := range []struct {
		name, want string
		change     func(*specs.Spec)
	}{
		{"plain", "init: by a plan", func(*specs.Spec) {}},
		{"hooks", "init: by a plan", func(s *specs.Spec) { s.Hooks = hooks }},
		{"pod", "init: by a plan", pod},
		{"time namespace", "init: libcontainer's: not expressible: a namespace of type NEWTIME", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		}},
	} {
		b := newBundle(t, root, func(s *specs.Spec) {
			shell("readlink /proc/self/ns/net")(s)
			test.change(s)
		})
		out, errs, status := b.run("minirun", "--debug", "run", "planned")
		if status != 0 || !strings.Contains(errs, test.want) {
			t.Errorf("%s: %d %s", test.name, status, errs)
		}
		if own, _ := os.Readlink("/proc/self/ns/net"); (test.name == "pod") != (strings.TrimSpace(out) == own) {
			t.Errorf("%s: %s, this process is in %s", test.name, out, own)
		}
	}
}

func dropNamespace(s *specs.Spec, kind specs.LinuxNamespaceType) {
	var kept []specs.LinuxNamespace
	for _, n := range s.Linux.Namespaces {
		if n.Type != kind {
			kept = append(kept, n)
		}
	}
	s.Linux.Namespaces = kept
}

func shell(script string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Process.Args = []string{"sh", "-c", script} }
}

// ociLifecycle has every verb of a container's life in a process of its own.
func ociLifecycle(t *testing.T, root string) {
	b := newBundle(t, root, func(s *specs.Spec) {
		shell("mkdir /x; grep Seccomp: /proc/self/status; sleep 1000")(s)
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

// ociLeakedDescriptors: a descriptor of the runtime's cannot be a way out of the root (CVE-2024-21626), for
// PID 1 nor for exec.
func ociLeakedDescriptors(t *testing.T, root string) {
	for fd := 3; fd < 20; fd++ {
		cwd := "/proc/self/fd/" + strconv.Itoa(fd)
		b := newBundle(t, root, func(s *specs.Spec) {
			shell("ls -d ../../../../../../../..$PWD; cat ../../../../../../../../proc/sys/kernel/osrelease")(s)
			s.Process.Cwd = cwd
		})
		if out, _, status := b.run("minirun", "run", "leak"); status == 0 {
			t.Errorf("%s: %s", cwd, out)
		}
	}
	b := newBundle(t, root, shell("sleep 1000"))
	b.create("leak")
	b.must("start", "leak")
	for fd := 3; fd < 20; fd++ {
		if out, _, status := b.run("minirun", "exec", "--cwd", "/proc/self/fd/"+strconv.Itoa(fd), "leak", "pwd"); status == 0 {
			t.Errorf("exec: %d: %s", fd, out)
		}
	}
	if out := b.must("exec", "leak", "sh", "-c", "ls /proc/self/fd | wc -l"); out != "4\n" { // and that of the directory
		t.Errorf("descriptors: %s", out)
	}
}

// ociOverwrite: the runtime's binary is not what init runs from, so that a container cannot write to
// it (CVE-2019-5736).
func ociOverwrite(t *testing.T, root string) {
	before, err := os.ReadFile(testBed.minirun)
	if err != nil {
		t.Fatal(err)
	}
	b := newBundle(t, root, func(s *specs.Spec) {
		s.Process.Args = []string{"/proc/self/exe", "version"}
	})
	_, _, _ = b.run("minirun", "run", "self")
	b = newBundle(t, root, shell(`while :; do for exe in /proc/[0-9]*/exe; do echo x >>$exe; done; done 2>/dev/null`))
	b.create("overwrite")
	b.must("start", "overwrite")
	for range 5 {
		_, _, _ = b.run("minirun", "exec", "overwrite", "/bin/true")
	}
	after, err := os.ReadFile(testBed.minirun)
	if err != nil || sha256.Sum256(before) != sha256.Sum256(after) {
		t.Errorf("the binary was changed: %v", err)
	}
}

// ociFiles: preserved files come first, also though init's own pass by there.
func ociFiles(t *testing.T, root string) {
	b := newBundle(t, root, shell("cat <&3; cat <&4; ls /proc/self/fd | wc -l"))
	for _, verb := range []string{"run", "exec"} {
		args := []string{"run", "--preserve-fds", "2", "files"}
		if verb == "exec" {
			c := newBundle(t, root, shell("sleep 1000"))
			c.create("files")
			c.must("start", "files")
			b, args = c, []string{"exec", "--preserve-fds", "2", "files", "sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd | wc -l"}
		}
		cmd := b.command("minirun", args...)
		for _, text := range []string{"three\n", "four\n"} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fmt.Fprint(w, text)
			w.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, r)
		}
		if out := outputOf(t, cmd); out != "three\nfour\n6\n" {
			t.Errorf("%s: %q", verb, out)
		}
	}
}

// ociConsole: the terminal's master goes to the engine's socket.
func ociConsole(t *testing.T, root string) {
	b := newBundle(t, root, func(s *specs.Spec) {
		shell("tty; test -t 0 && echo terminal; stty size")(s)
		s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Width: 70, Height: 30}
	})
	socket := filepath.Join(b.dir, "console")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	b.refused(1, "needs --console-socket", "create", "console")
	master := make(chan *os.File, 1)
	go func() { master <- receiveFile(t, listener) }()
	b.create("console", "--console-socket", socket)
	b.must("start", "console")
	m := <-master
	defer m.Close()
	var text []byte
	for buffer := make([]byte, 1024); !bytes.HasSuffix(text, []byte("30 70\r\n")); {
		n, err := m.Read(buffer)
		text = append(text, buffer[:n]...)
		if err != nil {
			break
		}
	}
	if got := strings.ReplaceAll(string(text), "\r", ""); got != "/dev/pts/0\nterminal\n30 70\n" {
		t.Errorf("%q", got)
	}
}

// ociPidfd: a pidfd of the process goes to the engine's socket.
func ociPidfd(t *testing.T, root string) {
	b := newBundle(t, root, shell("sleep 1000"))
	socket := filepath.Join(b.dir, "pidfd")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	received := make(chan *os.File, 1)
	go func() { received <- receiveFile(t, listener) }()
	b.create("pidfd", "--pidfd-socket", socket)
	f := <-received
	defer f.Close()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
	if err != nil || !strings.Contains(string(info), fmt.Sprintf("\nPid:\t%d\n", b.state("pidfd").Pid)) {
		t.Errorf("%v: %s", err, info)
	}
}

// receiveFile takes one file from the first caller.
func receiveFile(t *testing.T, listener *net.UnixListener) *os.File {
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Error(err)
		return nil
	}
	defer conn.Close()
	data, rights := make([]byte, 65536), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		t.Error(err)
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		t.Errorf("%v %v", messages, err)
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Error(err)
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "received")
}

// ociListener: the filter's listener goes to listenerPath, before the command runs.
func ociListener(t *testing.T, root string) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent")
	b := newBundle(t, root, func(s *specs.Spec) {
		shell("mkdir /x")(s)
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: socket, Syscalls: []specs.LinuxSyscall{{
			Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify,
		}}}
	})
	b.refused(1, "listenerPath", "run", "notify")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go answer(t, listener, unix.ENOTUNIQ)
	_, errs, status := b.run("minirun", "run", "notify")
	if status != 1 || !strings.Contains(errs, "Name not unique on network") {
		t.Errorf("%d %s", status, errs)
	}
}

// answer answers one notification with an errno (seccomp_unotify(2)).
func answer(t *testing.T, listener *net.UnixListener, errno unix.Errno) {
	f := receiveFile(t, listener)
	if f == nil {
		return
	}
	defer f.Close()
	var n struct {
		id         uint64
		pid, flags uint32
		data       [64]byte
	}
	const receive, send = 0xc0502100, 0xc0182101 // SECCOMP_IOCTL_NOTIF_RECV and _SEND
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), receive, uintptr(unsafe.Pointer(&n))); e != 0 {
		t.Errorf("receive: %v", e)
	}
	reply := struct {
		id    uint64
		val   int64
		error int32
		flags uint32
	}{id: n.id, error: -int32(errno)}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), send, uintptr(unsafe.Pointer(&reply))); e != 0 {
		t.Errorf("send: %v", e)
	}
}
