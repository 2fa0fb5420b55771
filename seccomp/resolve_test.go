package seccomp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// parsed are the default profile and the fixtures.
func parsed(t testing.TB) map[string]*Profile {
	t.Helper()
	all := map[string]*Profile{}
	for name, source := range seccomptest.Sources(t) {
		p, err := Parse(name+".json", source)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = p
	}
	if len(all) < 10 {
		t.Fatalf("only %d profiles: testdata is not whole", len(all))
	}
	return all
}

// flat is our answer, as JSON.
func flat(t *testing.T, p *Profile, target Target) string {
	t.Helper()
	policy, err := p.Resolve(target)
	if err != nil {
		t.Fatal(err)
	}
	return text(t, policy.Seccomp)
}

func text(t *testing.T, list *specs.LinuxSeccomp) string {
	t.Helper()
	data, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// difference returns two different lists in a readable form.
func difference(want, got string) string {
	indented := func(s string) string {
		var b bytes.Buffer
		_ = json.Indent(&b, []byte(s), "", "\t")
		return b.String()
	}
	return cmp.Diff(indented(want), indented(got))
}

// Docker's own resolver, in this process and for this machine, is the oracle.
func TestResolveAsDockerHere(t *testing.T) {
	for name, p := range parsed(t) {
		for _, set := range seccomptest.CapabilitySets() {
			spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: set}}}
			list, err := moby.LoadProfile(string(p.Source), spec)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			target, err := HostTarget(set)
			if err != nil {
				t.Fatal(err)
			}
			if want, got := text(t, list), flat(t, p, target); got != want {
				t.Fatalf("%s with %v (-docker +minirun):\n%s", name, set, difference(want, got))
			}
			policy, err := p.Resolve(target)
			if err != nil || (list.Flags == nil) != (policy.Seccomp.Flags == nil) {
				t.Fatalf("%s: flags %#v, Docker %#v (%v)", name, policy.Seccomp.Flags, list.Flags, err)
			}
		}
	}
}

// machines are the architectures that the oracle runs on: how to compile for them, and their
// names in Debian's qemu-user.
var machines = []struct{ goarch, qemu string }{
	{"amd64", "qemu-x86_64"}, {"arm64", "qemu-aarch64"}, {"s390x", "qemu-s390x"}, {"ppc64le", "qemu-ppc64le"}, {"riscv64", "qemu-riscv64"},
}

var kernels = []string{"3.10", "4.7", "4.8", "5.15", "6.18"}

// Docker's resolver is also the oracle on other architectures and, since the emulator can fake
// uname(2), other kernels. This needs qemu-user.
func TestResolveAsDockerElsewhere(t *testing.T) {
	profiles, sets := parsed(t), seccomptest.CapabilitySets()
	for _, m := range machines {
		t.Run(m.goarch, func(t *testing.T) {
			t.Parallel()
			qemu := testenv.Program(t, m.qemu)
			oracle := buildOracle(t, m.goarch)
			for i, kernel := range kernels {
				asked := sets[i*20 : i*20+20]
				if i == len(kernels)-1 {
					asked = sets
				}
				names, answers := ask(t, qemu, oracle, kernel, profiles, asked)
				arch, _ := syscalls.ParseArch(m.goarch)
				version, _ := ParseKernel(kernel)
				for i, want := range answers {
					name, set := names[i/len(asked)], asked[i%len(asked)]
					if got := flat(t, profiles[name], Target{set, arch, version}); got != want {
						t.Fatalf("%s on Linux %s with %v (-docker +minirun):\n%s", name, kernel, set, difference(want, got))
					}
				}
			}
		})
	}
}

// buildOracle compiles testdata/oracle for a machine.
func buildOracle(t *testing.T, goarch string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "oracle")
	build := exec.Command("go", "build", "-o", program, "./testdata/oracle")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the oracle: %v\n%s", err, out)
	}
	return program
}

// ask returns the names of the profiles in the order of the answers: each with all sets.
func ask(t *testing.T, qemu, oracle, kernel string, profiles map[string]*Profile, sets [][]string) (names, answers []string) {
	t.Helper()
	question := struct {
		Profiles []string
		Sets     [][]string
	}{Sets: sets}
	names = slices.Sorted(maps.Keys(profiles))
	for _, name := range names {
		question.Profiles = append(question.Profiles, string(profiles[name].Source))
	}
	input, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	run := exec.Command(qemu, "-r", kernel+".0-test", oracle)
	run.Stdin, run.Stdout, run.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := run.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", qemu, err, stderr.String())
	}
	lines := bufio.NewScanner(&stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		answers = append(answers, lines.Text())
	}
	if err := lines.Err(); err != nil || len(answers) != len(names)*len(sets) {
		t.Fatalf("the oracle gave %d answers to %d questions (%v)", len(answers), len(names)*len(sets), err)
	}
	return names, answers
}

// The naive evaluator of the format's description is the oracle for all architectures and
// kernels.
func TestResolveAsDescribed(t *testing.T) {
	for name, p := range parsed(t) {
		for _, arch := range syscalls.Arches() {
			for _, kernel := range kernels {
				version, err := ParseKernel(kernel)
				if err != nil {
					t.Fatal(err)
				}
				for _, set := range seccomptest.CapabilitySets()[:20] {
					list := naiveResolve(t, p.Source, naiveHost{set, arch.String(), specs.Arch(arch.OCI()), kernel})
					if want, got := text(t, list), flat(t, p, Target{set, arch, version}); got != want {
						t.Fatalf("%s on %s, Linux %s, with %v (-described +minirun):\n%s", name, arch, kernel, set, difference(want, got))
					}
				}
			}
		}
	}
}

// Each reason to leave a rule out is reported, with the name that decided.
func TestDecisions(t *testing.T) {
	target := Target{[]string{"CAP_KILL", "CAP_CHOWN"}, syscalls.AMD64, Kernel{5, 15}}
	for filters, want := range map[string]struct {
		reason Reason
		by     string
	}{
		`"includes": {"caps": ["CAP_KILL", "CAP_CHOWN"]}`:                                           {Kept, ""},
		`"excludes": {"arches": ["x86", "amd64"]}`:                                                  {ExcludedArch, "amd64"},
		`"excludes": {"caps": ["CAP_BPF", "CAP_CHOWN"]}`:                                            {ExcludedCap, "CAP_CHOWN"},
		`"excludes": {"minKernel": "5.15"}`:                                                         {ExcludedKernel, "5.15"},
		`"excludes": {"minKernel": "5.16"}`:                                                         {Kept, ""},
		`"includes": {"arches": ["x86", "arm"]}`:                                                    {MissingArch, "x86"},
		`"includes": {"caps": ["CAP_KILL", "CAP_BPF"]}`:                                             {MissingCap, "CAP_BPF"},
		`"includes": {"minKernel": "5.16"}`:                                                         {MissingKernel, "5.16"},
		`"includes": {"minKernel": "4.100"}`:                                                        {Kept, ""},
		`"includes": {"minKernel": "6.0"}, "excludes": {"caps": ["CAP_KILL"], "arches": ["amd64"]}`: {ExcludedArch, "amd64"},
	} {
		source := rule(fmt.Sprintf(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", %s}`, filters))
		p, err := Parse("p.json", []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		policy, err := p.Resolve(target)
		if err != nil {
			t.Fatal(err)
		}
		got := policy.Decisions[0]
		if got.Kept != (want.reason == Kept) || got.Reason != want.reason || got.By.Value != want.by {
			t.Errorf("%s: %+v, want %+v", filters, got, want)
		}
		if !got.Kept && got.By.Pos.Line != 2 {
			t.Errorf("%s: the word is said to stand at %s", filters, got.By.Pos)
		}
	}
}

// Origin leads from each call of the flat list to its rule.
func TestOrigin(t *testing.T) {
	for name, p := range parsed(t) {
		policy, err := p.Resolve(Target{seccomptest.DockerDefaults(), syscalls.AMD64, Kernel{6, 18}})
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range policy.Seccomp.Syscalls {
			r := p.Rules[policy.Origin[i]]
			if r.Action != s.Action || r.Names[0].Value != s.Names[0] || len(r.Names) != len(s.Names) {
				t.Errorf("%s: call %d %v is said to come from %s", name, i, s.Names, r.Pos)
			}
		}
	}
}
