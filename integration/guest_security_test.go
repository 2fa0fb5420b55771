package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
)

// dockerProfile is the part of Docker's AppArmor profile that shows that it is
// enforced: it denies mount(2) even with CAP_SYS_ADMIN.
const dockerProfile = `
profile docker-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,
  signal,
  ptrace (trace,read,tracedby,readby) peer=docker-default,
  deny mount,
}
`

const loadedProfiles = "/sys/kernel/security/apparmor/profiles"

var mountTmpfs = []string{"debian", "sh", "-c", "cat /proc/self/attr/current; mount -t tmpfs none /mnt"}

func TestAppArmorWithoutDockersProfile(t *testing.T) {
	requires(t, appArmor)
	if strings.Contains(read(t, loadedProfiles), "docker-default (") {
		t.Skip("docker-default is loaded here, by something else")
	}
	cmd := minirun(t, append([]string{"--debug", "--cap-add", "SYS_ADMIN"}, mountTmpfs...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || string(out) != "unconfined\n" {
		t.Errorf("%q (%v), want unconfined", out, err)
	}
	if !strings.Contains(stderr.String(), "debug: AppArmor: unconfined\n") {
		t.Errorf("no debug line: %s", &stderr)
	}
}

func TestAppArmorWithDockersProfile(t *testing.T) {
	requires(t, appArmor)
	loadDockersProfile(t)
	cmd := minirun(t, append([]string{"--cap-add", "SYS_ADMIN"}, mountTmpfs...)...)
	out, _ := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); !bytes.HasPrefix(out, []byte("docker-default (enforce)\n")) || status == 0 {
		t.Errorf("mount ended with %d: %q", status, out)
	}
	for _, flags := range [][]string{{"--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"}, {"--privileged"}} {
		out, err := minirun(t, append(flags, mountTmpfs...)...).CombinedOutput()
		if err != nil || string(out) != "unconfined\n" {
			t.Errorf("%q: %q (%v), want unconfined", flags, out, err)
		}
	}
}

// loadDockersProfile loads docker-default for the time of the test.
func loadDockersProfile(t *testing.T) {
	t.Helper()
	if strings.Contains(read(t, loadedProfiles), "docker-default (") {
		return
	}
	file := filepath.Join(t.TempDir(), "docker-default")
	if err := os.WriteFile(file, []byte(dockerProfile), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("apparmor_parser", "--add", "--skip-cache", file).CombinedOutput(); err != nil {
		t.Fatalf("apparmor_parser: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("apparmor_parser", "--remove", file).CombinedOutput(); err != nil {
			t.Errorf("apparmor_parser: %v: %s", err, out)
		}
	})
}

// With CAP_SYS_RESOURCE minirun can set higher limits than its own.
func TestUlimitRaised(t *testing.T) {
	requires(t, allCaps)
	script := "ulimit -n 256 && exec minirun --ulimit nofile=1000:2000 debian sh -c 'ulimit -Sn; ulimit -Hn'"
	cmd := minirun(t)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", script}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "1000\n2000\n" {
		t.Errorf("%q (%v), want 1000 and 2000", out, err)
	}
}

func TestAllCapabilities(t *testing.T) {
	requires(t, allCaps)
	own := capEff(t, read(t, "/proc/self/status"))
	for _, flags := range [][]string{{"--privileged"}, {"--cap-add", "ALL"}} {
		out, err := minirun(t, append(flags, "debian", "cat", "/proc/self/status")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := capEff(t, string(out)); got != own {
			t.Errorf("%q: CapEff %016x, want %016x", flags, got, own)
		}
	}
}

// A time namespace is made by unshare(2), which CAP_SYS_ADMIN opens in the
// default profile; its clocks are set with CAP_SYS_TIME.
func TestTimeNamespace(t *testing.T) {
	requires(t, allCaps, timeNamespaces)
	unshare := []string{"debian", "unshare", "--time", "--fork", "--boottime", "1000000000", "cat", "/proc/uptime"}
	out, err := minirun(t, append([]string{"--cap-add", "SYS_ADMIN", "--cap-add", "SYS_TIME"}, unshare...)...).CombinedOutput()
	if uptime, _, _ := strings.Cut(string(out), "."); err != nil || len(uptime) != len("1000000000") {
		t.Errorf("up for %q (%v), want more than 1000000000 s", out, err)
	}
	out, err = minirun(t, unshare...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Operation not permitted") {
		t.Errorf("without the capabilities: %q (%v)", out, err)
	}
}

// The kernel runs exactly the program that minirun compiled, and no other.
func TestFilterReadBack(t *testing.T) {
	requires(t, readableFilter)
	c := launch(t, nil, "sh", "-c", "echo ready; exec sleep 1000")
	bounding, err := config.BoundingSet(nil, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(compiled(t, profiles.Default(), bounding).Instructions, installedFilter(t, c.pid1)); diff != "" {
		t.Errorf("(-compiled +installed)\n%s", diff)
	}
	c.end(t)
}

// compiled returns the program of a profile for a container on this machine.
func compiled(t *testing.T, source []byte, bounding []string) *bpf.Program {
	t.Helper()
	profile, err := seccomp.Parse("profile", source)
	if err != nil {
		t.Fatal(err)
	}
	target, err := seccomp.HostTarget(bounding)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := profile.Resolve(target)
	if err != nil {
		t.Fatal(err)
	}
	program, err := compile.Compile(policy.Target.Arch, policy.Seccomp, policy.RulePosition)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// installedFilter asks the kernel for a process's only filter:
// PTRACE_SECCOMP_GET_FILTER of ptrace(2), Linux 4.4.
func installedFilter(t *testing.T, pid int) []unix.SockFilter {
	t.Helper()
	const ptraceSeccompGetFilter = 0x420c
	runtime.LockOSThread() // ptrace(2) works by thread
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		t.Fatalf("PTRACE_SEIZE: %v", err)
	}
	if err := unix.PtraceInterrupt(pid); err != nil {
		t.Fatalf("PTRACE_INTERRUPT: %v", err)
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		t.Fatalf("wait for PID 1: %v", err)
	}
	defer func() { _ = unix.PtraceDetach(pid) }() // the container is killed when the test ends
	n, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceSeccompGetFilter, uintptr(pid), 0, 0, 0, 0)
	if errno != 0 {
		t.Fatalf("PTRACE_SECCOMP_GET_FILTER: %v", errno)
	}
	program := make([]unix.SockFilter, n)
	_, _, errno = unix.Syscall6(unix.SYS_PTRACE, ptraceSeccompGetFilter, uintptr(pid), 0, uintptr(unsafe.Pointer(&program[0])), 0, 0)
	if errno != 0 {
		t.Fatalf("PTRACE_SECCOMP_GET_FILTER: %v", errno)
	}
	_, _, errno = unix.Syscall6(unix.SYS_PTRACE, ptraceSeccompGetFilter, uintptr(pid), 1, 0, 0, 0)
	if errno != unix.ENOENT {
		t.Errorf("a second filter: %v, want %v", errno, unix.ENOENT)
	}
	return program
}

// On a machine like the users', doctor reports ok for everything.
func TestDoctorIsContent(t *testing.T) {
	requires(t, allCaps, systemd, appArmor)
	loadDockersProfile(t)
	out, err := minirun(t, "doctor").CombinedOutput()
	if err != nil {
		t.Errorf("doctor: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "ok ") {
			t.Error(strings.TrimSpace(line))
		}
	}
}
