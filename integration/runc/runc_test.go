// Package runc compares minirun's programs with those that Debian's runc installs
// for the same rules: runc is given the flat list in a bundle, and what it installs
// is read back from the kernel. It runs as root on a kernel with
// CONFIG_CHECKPOINT_RESTORE, and needs the package runc.
package runc

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/live"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// everyAction has what Docker's profile has not: other actions, every operator,
// several conditions, an errno of its own. The default lets runc itself through.
const everyAction = `{
	"defaultAction": "SCMP_ACT_LOG",
	"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
	"syscalls": [
		{"names": ["acct", "swapon"], "action": "SCMP_ACT_KILL_PROCESS"},
		{"names": ["swapoff"], "action": "SCMP_ACT_KILL_THREAD"},
		{"names": ["quotactl"], "action": "SCMP_ACT_TRAP"},
		{"names": ["reboot"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
		{"names": ["sethostname"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_LE"}]},
		{"names": ["setdomainname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [{"index": 1, "value": 64, "op": "SCMP_CMP_GT"}]},
		{"names": ["setpriority"], "action": "SCMP_ACT_ERRNO", "args": [
			{"index": 0, "value": 1, "op": "SCMP_CMP_NE"}, {"index": 1, "value": 9, "op": "SCMP_CMP_GE"}, {"index": 2, "value": 19, "op": "SCMP_CMP_LT"}]},
		{"names": ["fcntl", "fcntl64"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 2, "value": 240, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]},
		{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]},
		{"names": ["shmget", "capset_of_no_kernel"], "action": "SCMP_ACT_ERRNO"}
	]
}`

// TestVerdicts: over thirty sets of capabilities both programs say the same of
// every call, but of those that libseccomp is too old to know by name.
func TestVerdicts(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("compares x86_64, i386 and x32")
	}
	testenv.Root(t)
	sameLibseccomp(t)
	for name, source := range map[string][]byte{
		"default": profiles.Default(), "chown": read(t, "../../profiles/chown-audit-control.json"), "every action": []byte(everyAction),
	} {
		t.Run(name, func(t *testing.T) {
			profile, err := seccomp.Parse(name, source)
			if err != nil {
				t.Fatal(err)
			}
			calls, tooNew := 0, map[string]bool{}
			for _, capabilities := range capabilitySets(t) {
				calls += compare(t, profile, capabilities, tooNew)
			}
			t.Logf("%d calls compared; libseccomp does not know %s", calls, slices.Sorted(maps.Keys(tooNew)))
		})
	}
}

// capabilitySets gives none, Docker's, all, and others by chance.
func capabilitySets(t *testing.T) [][]string {
	t.Helper()
	all, err := config.BoundingSet([]string{"ALL"}, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	docker, err := config.BoundingSet(nil, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	sets := [][]string{nil, docker, all}
	random := rand.New(rand.NewPCG(1, 2))
	for len(sets) < 30 {
		set := slices.DeleteFunc(slices.Clone(all), func(string) bool { return random.IntN(2) == 0 })
		sets = append(sets, set)
	}
	return sets
}

// compare runs both programs on every call of interest, and returns how many there are. It
// adds the calls that the list names and libseccomp does not know to tooNew.
func compare(t *testing.T, profile *seccomp.Profile, capabilities []string, tooNew map[string]bool) int {
	t.Helper()
	target, err := seccomp.HostTarget(capabilities)
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
	ours, theirs := emulator(t, program), emulator(t, installed(t, policy.Seccomp))
	all := calls(policy.Seccomp)
	for _, c := range all {
		mine, err := ours.Run(c)
		if err != nil {
			t.Fatal(err)
		}
		runcs, err := theirs.Run(c)
		if err != nil {
			t.Fatal(err)
		}
		arch, _ := syscalls.FromAudit(c.Arch, c.Nr)
		name, _ := syscalls.NameOf(arch, c.Nr)
		if listed(policy.Seccomp, name) && !known(name) && arch == target.Arch {
			// minirun's own table gives it the rule's verdict, whose one action here
			// is to allow; to runc it is a call that no rule names.
			tooNew[name] = true
			errno := unix.EPERM
			if c.Nr > horizon(policy.Seccomp, arch) {
				errno = unix.ENOSYS
			}
			if mine != unix.SECCOMP_RET_ALLOW || runcs != unix.SECCOMP_RET_ERRNO|bpf.Verdict(errno) {
				t.Errorf("%s, unknown to libseccomp: minirun %v, runc %v", name, mine, runcs)
			}
		} else if mine != runcs {
			t.Errorf("%v %s %+v with %s: minirun %v, runc %v", arch, name, c, capabilities, mine, runcs)
		}
		if t.Failed() {
			t.FailNow() // one difference says all
		}
	}
	return len(all)
}

func emulator(t *testing.T, p *bpf.Program) *bpf.Emulator {
	t.Helper()
	e, err := p.Emulator()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func listed(list *specs.LinuxSeccomp, name string) bool {
	return slices.ContainsFunc(list.Syscalls, func(s specs.LinuxSyscall) bool { return slices.Contains(s.Names, name) })
}

func known(name string) bool {
	_, err := libseccomp.GetSyscallFromName(name)
	return err == nil
}

// horizon is the largest number that a list names and libseccomp knows.
func horizon(list *specs.LinuxSeccomp, arch syscalls.Arch) uint32 {
	var largest uint32
	for _, s := range list.Syscalls {
		for _, name := range s.Names {
			if nr, ok := syscalls.Number(arch, name); ok && known(name) {
				largest = max(largest, nr)
			}
		}
	}
	return largest
}

// installed is the program that a container of runc waits with for its start.
func installed(t *testing.T, list *specs.LinuxSeccomp) *bpf.Program {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "rootfs", "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs", "bin", "true"), nil, 0o755); err != nil { //nolint:gosec // a command
		t.Fatal(err)
	}
	// Between the filter and the wait runc needs capabilities and calls of its own. With
	// noNewPrivileges it would install the filter after the wait.
	spec := specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}},
			Seccomp:    list,
		},
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	id := "runc-test-" + strconv.Itoa(os.Getpid())
	pidFile := filepath.Join(dir, "pid")
	runc(t, "--root", filepath.Join(dir, "state"), "create", "--bundle", dir, "--pid-file", pidFile, id)
	defer runc(t, "--root", filepath.Join(dir, "state"), "delete", "--force", id)
	pid, err := strconv.Atoi(string(read(t, pidFile)))
	if err != nil {
		t.Fatal(err)
	}
	filters, err := live.Filters(pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(filters) != 1 {
		t.Fatalf("runc installed %d filters, want 1", len(filters))
	}
	return filters[0]
}

func runc(t *testing.T, args ...string) {
	t.Helper()
	said, err := os.Create(filepath.Join(t.TempDir(), "said")) // a pipe would stay open as long as the container
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = said.Close() }()
	cmd := exec.Command("runc", args...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		t.Fatalf("runc %s: %v: %s", args, err, read(t, said.Name()))
	}
}

// sameLibseccomp: libseccomp decides which names there are.
func sameLibseccomp(t *testing.T) {
	t.Helper()
	out, err := exec.Command("runc", "--version").Output()
	if err != nil {
		t.Fatalf("runc --version: %v (the package runc has it)", err)
	}
	if want := "libseccomp: " + compile.LibraryVersion(); !strings.Contains(string(out), want) {
		t.Fatalf("this runc was built with another libseccomp than minirun (%s): %s", compile.LibraryVersion(), out)
	}
}

// calls are every number up to beyond the last of the three architectures, and
// for what rules compare the 32-bit values around theirs in all combinations.
func calls(list *specs.LinuxSeccomp) []bpf.Call {
	const x32Bit = 0x40000000
	var all []bpf.Call
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.X32, syscalls.X86} {
		for nr := range uint32(601) {
			if arch == syscalls.X32 {
				nr |= x32Bit
			}
			each := []bpf.Call{{Nr: nr, Arch: arch.Audit()}}
			name, _ := syscalls.NameOf(arch, nr)
			around := edges(list, name)
			for _, index := range slices.Sorted(maps.Keys(around)) {
				var more []bpf.Call
				for v := range around[index] {
					for _, c := range each {
						c.Args[index] = uint64(v)
						more = append(more, c)
					}
				}
				each = more
			}
			all = append(all, each...)
		}
	}
	return all
}

// edges gives for each argument of a call that a rule compares the values at,
// below and above those of its conditions. The first argument of socketcall and
// ipc is the number of a call.
func edges(list *specs.LinuxSeccomp, name string) map[uint]map[uint32]bool {
	around := map[uint]map[uint32]bool{}
	add := func(index uint, values ...uint64) {
		if around[index] == nil {
			around[index] = map[uint32]bool{0: true, 1 << 31: true, 1<<32 - 1: true}
		}
		for _, v := range values {
			around[index][uint32(v)] = true
		}
	}
	if name == "socketcall" || name == "ipc" {
		for i := range uint64(26) {
			add(0, i)
		}
	}
	for _, rule := range list.Syscalls {
		if !slices.Contains(rule.Names, name) {
			continue
		}
		for _, a := range rule.Args {
			add(a.Index, a.Value-1, a.Value, a.Value+1)
			if a.Op == specs.OpMaskedEqual {
				add(a.Index, a.ValueTwo, a.ValueTwo|^a.Value, a.ValueTwo^a.Value&-a.Value, a.ValueTwo|a.Value)
			}
		}
	}
	return around
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
