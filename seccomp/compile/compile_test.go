package compile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// The verdicts of compiled programs are those of the flat lists.
func TestCompiledVerdicts(t *testing.T) {
	for name, p := range parsed(t) {
		for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.S390X, syscalls.PPC64LE, syscalls.RISCV64} {
			if name == "old-format" && arch == syscalls.S390X {
				continue // its architectures are x86's, of the other byte order: see TestCompileErrors
			}
			t.Run(fmt.Sprintf("%s/%s", name, arch), func(t *testing.T) {
				for _, caps := range [][]string{seccomptest.DockerDefaults(), nil, capname.All()} {
					testVerdicts(t, p, seccomp.Target{Capabilities: caps, Arch: arch, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
				}
			})
		}
	}
}

func testVerdicts(t *testing.T, p *seccomp.Profile, target seccomp.Target) {
	t.Helper()
	policy, err := p.Resolve(target)
	if err != nil {
		t.Fatal(err)
	}
	program, err := compilePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	j := seccomptest.NewJudge(policy.Seccomp, target.Arch)
	var calls []bpf.Call
	for _, a := range append(slices.Clone(j.Arches), syscalls.AMD64, syscalls.X86, syscalls.X32, syscalls.ARM64, syscalls.ARM) {
		calls = append(calls, j.Calls(a)...)
	}
	differences := 0
	for _, c := range calls {
		want, got := j.Verdict(t, c), bpftest.Interpret(t, program, c)
		if want == got {
			continue
		}
		arch, _ := syscalls.FromAudit(c.Arch, c.Nr)
		name, _ := syscalls.NameOf(arch, c.Nr)
		t.Errorf("%s %s(%#x) nr %d: the program gives %s, the list means %s", arch, name, c.Args, c.Nr, got, want)
		if differences++; differences == 8 {
			return
		}
	}
}

// The same for random conditions: for each call a rule of several on different
// arguments, or several values of the same. More at once would test libseccomp:
// where rules of one call compare sizes or different arguments, 2.5.4 sometimes
// takes the wrong branch, and Docker's runtime with it.
func TestCompiledVerdictsRandom(t *testing.T) {
	names := []string{"read", "socket", "personality", "mseal", "open_tree_attr", "mmap", "lseek", "semget", "futex"}
	values := []uint64{0, 1, 2, 3, 40, 0xff, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1 << 63, 1<<64 - 1}
	ops := []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual,
	}
	r := rand.New(rand.NewPCG(3, 6))
	arg := func(index int) seccomp.Arg {
		return seccomp.Arg{Index: uint(index), Op: ops[r.IntN(len(ops))], Value: values[r.IntN(len(values))], ValueTwo: values[r.IntN(len(values))]}
	}
	for round := range 100 {
		target := seccomp.Target{Capabilities: nil, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}
		p := &seccomp.Profile{File: "random.json", DefaultAction: specs.ActErrno, Architectures: []seccomp.Name{{Value: "SCMP_ARCH_X86"}, {Value: "SCMP_ARCH_X32"}}}
		if round%2 == 1 { // of the other byte order
			target.Arch, p.Architectures = syscalls.S390X, nil
		}
		for _, name := range names {
			count, index := 1+r.IntN(3), r.Perm(3)
			one := seccomp.Rule{Names: []seccomp.Name{{Value: name}}, Action: specs.ActAllow}
			several := r.IntN(2) == 0
			for i := range count {
				if several {
					each := one
					each.Args = []seccomp.Arg{arg(index[0])}
					each.Args[0].Op = specs.OpEqualTo
					p.Rules = append(p.Rules, each)
				} else {
					one.Args = append(one.Args, arg(index[i]))
				}
			}
			if !several {
				p.Rules = append(p.Rules, one)
			}
		}
		testVerdicts(t, p, target)
		if t.Failed() {
			t.Fatalf("%+v", p.Rules)
		}
	}
}

// What the kernel demands of a filter (seccomp(2)), and what else a program carries.
func TestProgram(t *testing.T) {
	for name, p := range parsed(t) {
		policy, program := compiled(t, p)
		if n := len(program.Instructions); n == 0 || n > unix.BPF_MAXINSNS {
			t.Errorf("%s: %d instructions", name, n)
		}
		if _, err := program.Emulator(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, notify := policy.Notifies()
		if program.Listener != notify {
			t.Errorf("%s: listener %v", name, program.Listener)
		}
		again, err := compilePolicy(policy)
		if err != nil || !slices.Equal(again.Instructions, program.Instructions) {
			t.Errorf("%s: two compilations differ (%v)", name, err)
		}
		if pfc, err := PFC(policy.Target.Arch, policy.Seccomp, policy.RulePosition); err != nil || !bytes.Contains(pfc, []byte("pseudo filter code")) {
			t.Errorf("%s: pseudo code %.40q, %v", name, pfc, err)
		}
	}
}

func TestProgramFlags(t *testing.T) {
	for flags, want := range map[string]uint32{
		``:             unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		`"flags": [],`: 0,
		`"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],`:                     unix.SECCOMP_FILTER_FLAG_LOG,
		`"flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],`: 4 | 32,
	} {
		p, err := seccomp.Parse("p.json", []byte(`{`+flags+`"defaultAction": "SCMP_ACT_NOTIFY"}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, program := compiled(t, p); program.Flags != want || !program.Listener {
			t.Errorf("%s: flags %#x, want %#x; listener %v", flags, program.Flags, want, program.Listener)
		}
	}
}

// Errors of libseccomp have the position of the rule.
func TestCompileErrors(t *testing.T) {
	for _, tt := range []struct {
		arch           syscalls.Arch
		source, reason string
	}{
		{syscalls.S390X, `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}`, "architecture SCMP_ARCH_X86_64 beside SCMP_ARCH_S390X"},
		{syscalls.AMD64, `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095}`, "errno 4095"},
		{syscalls.AMD64, "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [\n" + `{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095}` + "\n]}", "p.json:2:1: read: errno 4095"},
		{syscalls.AMD64, "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [\n" + `{"names": ["mseal"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095}` + "\n]}", "p.json:2:1: mseal: errno 4095"},
	} {
		p, err := seccomp.Parse("p.json", []byte(tt.source))
		if err != nil {
			t.Fatal(err)
		}
		policy, err := p.Resolve(seccomp.Target{Capabilities: nil, Arch: tt.arch, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compilePolicy(policy); err == nil || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: %v, want %s", tt.source, err, tt.reason)
		}
	}
}

// compiled is a profile's program for a container on amd64 with Docker's capabilities.
func compiled(t testing.TB, p *seccomp.Profile) (*seccomp.Policy, *bpf.Program) {
	t.Helper()
	policy, err := p.Resolve(seccomp.Target{Capabilities: seccomptest.DockerDefaults(), Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
	if err != nil {
		t.Fatal(err)
	}
	program, err := compilePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	return policy, program
}

// A list that no profile was resolved to, such as a bundle's, compiles to the same
// program; what the parser of profiles would refuse is refused with its place in the list.
func TestCompileList(t *testing.T) {
	for name, p := range parsed(t) {
		policy, want := compiled(t, p)
		got, err := Compile(syscalls.AMD64, policy.Seccomp, nil)
		if err != nil || !slices.Equal(got.Instructions, want.Instructions) {
			t.Errorf("%s: another program without origins (%v)", name, err)
		}
	}
	equal := []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo}}
	for _, tt := range []struct {
		rule   specs.LinuxSyscall
		reason string
	}{
		{specs.LinuxSyscall{Names: []string{"mseal"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}, "syscalls[1]: argument index 6"},
		{specs.LinuxSyscall{Names: []string{"mseal"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "SCMP_CMP_ABOUT"}}}, `syscalls[1]: unknown operator "SCMP_CMP_ABOUT"`},
		{specs.LinuxSyscall{Names: []string{"read"}, Action: "SCMP_ACT_MAYBE", Args: equal}, `syscalls[1]: read: unknown action "SCMP_ACT_MAYBE"`},
		{specs.LinuxSyscall{Action: "SCMP_ACT_MAYBE"}, `unknown action "SCMP_ACT_MAYBE"`},
		{specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, ErrnoRet: errno(1 << 16)}, "syscalls[1]: errno 65536"},
	} {
		list := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"write"}, Action: specs.ActLog}, tt.rule}}
		for what, f := range map[string]func() error{
			"Compile": func() error { _, err := Compile(syscalls.AMD64, list, nil); return err },
			"Cached":  func() error { _, _, err := Cached(t.TempDir(), syscalls.AMD64, list, nil); return err },
			"PFC":     func() error { _, err := PFC(syscalls.AMD64, list, nil); return err },
		} {
			if err := f(); err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("%s %+v: %v, want %s", what, tt.rule, err, tt.reason)
			}
		}
	}
}

func errno(v uint) *uint { return &v }
