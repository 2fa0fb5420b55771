package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

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

// command is a call of a runtime: "minirun", or the program of another.
func (b *ociBundle) command(runtime string, args ...string) *exec.Cmd {
	name, first := testBed.minirun, []string{"oci", "--root", b.root}
	if runtime != "minirun" {
		name, first = runtime, []string{"--root", b.root + "-runc"}
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
		{"as libcontainer's runc", ociAsLibcontainersRunc},
		{"init", ociInit},
		{"lifecycle", ociLifecycle},
		{"failures", ociFailures},
		{"quick", ociQuick},
		{"quick fails", ociQuickFails},
		{"delete again", ociDeleteAgain},
		{"hand-over fails", ociHandOverFails},
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
		// runc joins the hierarchy of misc since 1.1.6, and Debian 12 has 1.1.5.
		{"absolute cgroup", "grep -v :misc: /proc/self/cgroup", func(s *specs.Spec) {
			s.Linux.CgroupsPath = "/oci-test/a"
			dropNamespace(s, specs.CgroupNamespace)
		}},
		{"relative cgroup", "grep -v :misc: /proc/self/cgroup", func(s *specs.Spec) {
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
