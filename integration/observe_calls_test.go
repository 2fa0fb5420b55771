package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// deniedNumbers returns the calls that a filter denies and this machine can make, each as
// ARCH NUMBER, and the verdicts.
func deniedNumbers(t *testing.T, program *bpf.Program) (numbers []string, verdicts map[string]bpf.Verdict) {
	t.Helper()
	e, err := program.Emulator()
	if err != nil {
		t.Fatal(err)
	}
	verdicts = map[string]bpf.Verdict{}
	archs := []syscalls.Arch{syscalls.AMD64, syscalls.X32}
	if i386Calls.usable(t) {
		archs = append(archs, syscalls.X86)
	}
	for _, arch := range archs {
		for _, name := range syscalls.Calls(arch) {
			call, _ := bpf.NewCall(arch, name)
			v, err := e.Run(call)
			if err != nil {
				t.Fatal(err)
			}
			if name == "uretprobe" || name == "uprobe" {
				continue // no filter is run for them, from Linux 6.14 and 6.18 on
			}
			if v.Action() == unix.SECCOMP_RET_ERRNO {
				key := fmt.Sprintf("%s %d", arch, call.Nr)
				verdicts[key] = v
				numbers = append(numbers, key)
			}
		}
	}
	return numbers, verdicts
}

// Each call that a profile denies returns the same with and without --explain, on all
// architectures that the kernel takes, and is reported.
func TestExplainEveryCall(t *testing.T) {
	host, _ := syscalls.Host()
	testenv.Need(t, "amd64, for the test program", host == syscalls.AMD64)
	odd := `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[
		{"names":["acct"],"action":"SCMP_ACT_ERRNO","errnoRet":0},
		{"names":["swapon"],"action":"SCMP_ACT_ERRNO","errnoRet":4094},
		{"names":["swapoff"],"action":"SCMP_ACT_ERRNO","errnoRet":1},
		{"names":["stime","umount"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}`
	dir := testProgram(t, "calls")
	for name, source := range map[string][]byte{"default": profiles.Default(), "odd": []byte(odd)} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "profile.json")
			if err := os.WriteFile(file, source, 0o644); err != nil {
				t.Fatal(err)
			}
			profile, err := seccomp.Parse(file, source)
			if err != nil {
				t.Fatal(err)
			}
			target, err := seccomp.HostTarget([]string{
				"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
				"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
			})
			if err != nil {
				t.Fatal(err)
			}
			policy, err := profile.Resolve(target)
			if err != nil {
				t.Fatal(err)
			}
			program, err := compile.Compile(target.Arch, policy.Seccomp, policy.RulePosition)
			if err != nil {
				t.Fatal(err)
			}
			numbers, verdicts := deniedNumbers(t, program)
			if len(verdicts) < 6 {
				t.Fatalf("only %v is denied", verdicts)
			}
			withAndWithoutBPF(t, func(t *testing.T, _ bool, run func(*testing.T, ...string) *exec.Cmd) {
				lines := filepath.Join(t.TempDir(), "lines")
				for some := range slices.Chunk(numbers, 90) { // there is a limit
					if err := os.WriteFile(filepath.Join(dir, "numbers"), []byte(strings.Join(some, "\n")), 0o644); err != nil {
						t.Fatal(err)
					}
					args := []string{"--seccomp", file, "-v", dir + "/calls:/calls:ro", "-v", dir + "/numbers:/numbers:ro", "debian", "/calls", "/numbers"}
					plain, _, _ := explained(t, args...)
					got, stderr, status := output(run(t, append([]string{"--explain-to", lines}, args...)...))
					if status != 0 || got != plain || strings.Count(plain, "\n") != len(some) {
						t.Fatalf("status %d, %d calls\n%s\nwithout --explain:\n%s\n%s", status, len(some), got, plain, stderr)
					}
				}
				wantLines(t, lines, policy, verdicts)
			})
		})
	}
}

// wantLines compares the reports with the verdicts of the program, and of explain.
func wantLines(t *testing.T, file string, policy *seccomp.Policy, verdicts map[string]bpf.Verdict) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	explainer, err := analyze.NewExplainer(policy)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range bytes.Lines(data) {
		var r struct {
			Call, Arch, Verdict, Rule string
			Number                    uint32
			PID                       int
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%s %d", r.Arch, r.Number)
		arch, _ := syscalls.ParseArch(r.Arch)
		x, err := explainer.ForArch(arch).Explain(analyze.CallPattern{Name: r.Call, Given: 6})
		if err != nil || x.Verdict != r.Verdict || x.Rule != r.Rule || verdicts[key].String() != r.Verdict || r.PID != 1 {
			t.Errorf("%s is not what explain says: %+v, %v", line, x, err)
		}
		seen[key] = true
	}
	reported := 0
	for key, v := range verdicts {
		if v.Data() == uint32(unix.ENOSYS) && !strings.HasSuffix(key, " 22") && !strings.HasSuffix(key, " 25") { // stime and umount are as old as Linux
			continue
		}
		if !seen[key] {
			t.Errorf("%s: %s is not reported", key, v)
		}
		reported++
	}
	if len(seen) != reported {
		t.Errorf("%d calls are reported, want %d", len(seen), reported)
	}
}
