package bpf_test

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func agree(t *testing.T, p *bpf.Program, e *bpf.Emulator, c bpf.Call) {
	t.Helper()
	got, err := e.Run(c)
	if err != nil {
		t.Fatalf("%+v: %v\nprogram %+v", c, err, p.Instructions)
	}
	if want := bpftest.Interpret(t, p, c); got != want {
		t.Fatalf("%+v: the emulator gives %#x, the interpreter %#x\nprogram %+v", c, uint32(got), uint32(want), p.Instructions)
	}
}

func TestEmulateRandomPrograms(t *testing.T) {
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.S390X} { // one of each byte order
		r := rand.New(rand.NewPCG(3, 4))
		verdicts := map[bpf.Verdict]bool{}
		for range 3000 {
			p := bpftest.RandomProgram(r, arch)
			e, err := p.Emulator()
			if err != nil {
				t.Fatalf("%v\nprogram %+v", err, p.Instructions)
			}
			for range 20 {
				c := bpftest.RandomCall(r, arch.Audit())
				agree(t, p, e, c)
				verdicts[bpftest.Interpret(t, p, c)] = true
			}
		}
		if len(verdicts) < 1000 {
			t.Errorf("%s: only %d verdicts: the programs hardly look at the calls", arch, len(verdicts))
		}
	}
}

// compiled is the program of a test profile for a container with Docker's capabilities.
func compiled(t testing.TB, name string, arch syscalls.Arch) *bpf.Program {
	t.Helper()
	p, err := seccomp.Parse(name+".json", seccomptest.Sources(t)[name])
	if err != nil {
		t.Fatal(err)
	}
	policy, err := p.Resolve(seccomp.Target{Capabilities: []string{"CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT"}, Arch: arch, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
	if err != nil {
		t.Fatal(err)
	}
	program, err := compile.Compile(policy.Target.Arch, policy.Seccomp, policy.RulePosition)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func TestEmulateDefaultProfile(t *testing.T) {
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.S390X, syscalls.PPC64LE, syscalls.RISCV64} {
		program := compiled(t, "default", arch)
		e, err := program.Emulator()
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(3, 5))
		for range 20000 {
			agree(t, program, e, bpftest.RandomCall(r, arch.Audit()))
		}
	}
}

// A program that seccomp(2) or the virtual machine does not accept is an error.
func TestEmulatorRefuses(t *testing.T) {
	ret := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	for name, insns := range map[string][]unix.SockFilter{
		"empty":               nil,
		"no return":           {{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}},
		"jump out":            {{Code: unix.BPF_JMP | unix.BPF_JEQ, Jt: 1}, ret},
		"unknown instruction": {{Code: 0xffff}, ret},
		"byte load":           {{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS}, ret},
		"indirect load":       {{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_IND}, ret},
		"unaligned load":      {{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 2}, ret},
		"load beyond the end": {{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 64}, ret},
		"negation":            {{Code: unix.BPF_ALU | unix.BPF_NEG}, ret}, // the kernel would take it
	} {
		p := &bpf.Program{Arch: syscalls.AMD64, Instructions: insns}
		if _, err := p.Emulator(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestVerdictString(t *testing.T) {
	for v, want := range map[bpf.Verdict]string{
		0x00000000: "KILL_THREAD", 0x80000000: "KILL_PROCESS", 0x00030000: "TRAP", 0x00050001: "ERRNO(EPERM)",
		0x00050026: "ERRNO(ENOSYS)", 0x00050fff: "ERRNO(4095)", 0x7fc00000: "NOTIFY", 0x7ff00007: "TRACE(7)",
		0x7ffc0000: "LOG", 0x7fff0000: "ALLOW",
	} {
		if got := v.String(); got != want {
			t.Errorf("%#x is %s, want %s", uint32(v), got, want)
		}
	}
}

func FuzzEmulate(f *testing.F) {
	amd64 := compiled(f, "default", syscalls.AMD64)
	s390x := compiled(f, "default", syscalls.S390X)
	f.Add(false, uint32(41), uint32(syscalls.AMD64), uint64(40), uint64(1)<<32)
	f.Add(true, uint32(120), uint32(syscalls.S390X), uint64(0), uint64(0x10000000))
	f.Add(false, uint32(41|bpf.X32Bit), uint32(syscalls.AMD64), uint64(1), ^uint64(0))
	f.Fuzz(func(t *testing.T, big bool, nr, arch uint32, arg0, arg1 uint64) {
		program := amd64
		if big {
			program = s390x
		}
		e, err := program.Emulator()
		if err != nil {
			t.Fatal(err)
		}
		agree(t, program, e, bpf.Call{Nr: nr, Arch: arch, Args: [6]uint64{arg0, arg1}})
	})
}
