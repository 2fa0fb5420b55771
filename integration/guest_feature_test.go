package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// feature is something that a machine may have or lack. Tests depend on features, not
// on where they run.
type feature string

const (
	cgroup1        feature = "cgroup v1"
	cgroup2        feature = "cgroup v2"
	systemd        feature = "systemd"
	appArmor       feature = "AppArmor"
	allCaps        feature = "all capabilities"
	timeNamespaces feature = "time namespaces"
	amd64          feature = "amd64"
	i386Calls      feature = "calls of i386 (some hypervisors end a process at int 0x80)"
	readableFilter feature = "filters that ptrace(2) reads back" // CONFIG_CHECKPOINT_RESTORE
)

// requires skips the test on a machine that lacks a feature. In a guest
// MINIRUN_REQUIRE names the version of cgroups that the machine has, and says that it
// has everything else: only tests for the other version are skipped there, and others
// fail if a feature is missing. `make test-all` fails if a test ran on no machine.
func requires(t *testing.T, features ...feature) {
	t.Helper()
	for _, f := range features {
		if !f.usable(t) {
			t.Skipf("needs %s, which this machine lacks", f)
		}
	}
}

// usable reports whether the machine has a feature. The test fails if it should have it.
func (f feature) usable(t *testing.T) bool {
	t.Helper()
	if f.present(t) {
		return true
	}
	required := feature(os.Getenv("MINIRUN_REQUIRE"))
	if other := f != required && (f == cgroup1 || f == cgroup2); required != "" && !other {
		t.Fatalf("this machine should have %s", f)
	}
	return false
}

func (f feature) present(t *testing.T) bool {
	t.Helper()
	switch f {
	case cgroup1:
		return !cgroup2.present(t) && exists("/sys/fs/cgroup/memory/memory.limit_in_bytes")
	case cgroup2:
		var fs unix.Statfs_t
		return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
	case systemd:
		return exists("/run/systemd/system") // sd_booted(3)
	case appArmor:
		enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		_, err := exec.LookPath("apparmor_parser")
		return string(enabled) == "Y\n" && err == nil
	case allCaps:
		last, err := strconv.Atoi(strings.TrimSpace(read(t, "/proc/sys/kernel/cap_last_cap")))
		if err != nil {
			t.Fatal(err)
		}
		return capEff(t, read(t, "/proc/self/status")) == 1<<(last+1)-1
	case timeNamespaces:
		return exists("/proc/self/ns/time")
	case amd64:
		return runtime.GOARCH == "amd64"
	case i386Calls:
		dir := testProgram(t, "calls")
		numbers := filepath.Join(dir, "numbers")
		if err := os.WriteFile(numbers, []byte("x86 20\n"), 0o644); err != nil { // getpid
			t.Fatal(err)
		}
		return exec.Command(filepath.Join(dir, "calls"), numbers).Run() == nil
	case readableFilter:
		return exists("/proc/sys/kernel/ns_last_pid") // only with CONFIG_CHECKPOINT_RESTORE
	}
	t.Fatalf("no such feature: %s", f)
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// capEff is the effective set in the text of a /proc/PID/status.
func capEff(t *testing.T, status string) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(status, "\nCapEff:\t")
	line, _, _ := strings.Cut(rest, "\n")
	set, err := strconv.ParseUint(line, 16, 64)
	if err != nil {
		t.Fatalf("CapEff in %q: %v", status, err)
	}
	return set
}
