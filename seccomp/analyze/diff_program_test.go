package analyze

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Filters without a profile, such as those that dump reads, are compared with one that lets
// all calls through.
func TestCompareForeign(t *testing.T) {
	const readNr, allow, kill = 0, unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_KILL_PROCESS
	ld := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	and := func(mask uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op, K: k, Jt: yes, Jf: no}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET, K: k} }
	none := &bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{ret(allow)}}
	for _, tt := range []struct {
		name string
		look []unix.SockFilter // at read(2); two instructions after the last is KILL_PROCESS, before it ALLOW
		want []string
	}{
		{"a bit", []unix.SockFilter{ld(24), jump(unix.BPF_JSET, 4, 1, 0)}, []string{"amd64 read(0, 4): KILL_PROCESS, ALLOW"}},
		{"above 32 bits", []unix.SockFilter{ld(20), jump(unix.BPF_JGT, 6, 1, 0)}, []string{"amd64 read(0x700000000): KILL_PROCESS, ALLOW"}},
		{"one value of a mask", []unix.SockFilter{ld(32), and(0xff00), jump(unix.BPF_JEQ, 0x1200, 1, 0)}, []string{"amd64 read(0, 0, 0x1200): KILL_PROCESS, ALLOW"}},
		{"all but one", []unix.SockFilter{ld(16), jump(unix.BPF_JEQ, 0, 0, 1)}, []string{"amd64 read(1): KILL_PROCESS, ALLOW"}},
		{"two arguments", []unix.SockFilter{ld(16), jump(unix.BPF_JEQ, 9, 0, 2), ld(24), jump(unix.BPF_JGE, 3, 1, 0)}, []string{"amd64 read(9, 3): KILL_PROCESS, ALLOW"}},
		{"nothing", []unix.SockFilter{ld(16), jump(unix.BPF_JEQ, 9, 0, 0)}, nil},
		{"what is not its number", []unix.SockFilter{ld(0), jump(unix.BPF_JEQ, 1, 1, 0)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &bpf.Program{Arch: syscalls.AMD64, Instructions: slices.Concat(
				[]unix.SockFilter{ld(0), jump(unix.BPF_JEQ, readNr, 0, uint8(len(tt.look)))}, tt.look, []unix.SockFilter{ret(allow), ret(kill)},
			)}
			found, err := comparePrograms(p, none)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range found {
				if d.Arch == "amd64" { // they do not look at the architecture: see TestCompareUnassigned
					got = append(got, d.String())
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// comparePrograms compares programs without profiles.
func comparePrograms(a, b *bpf.Program) ([]Difference, error) {
	wa, err := a.Walker()
	if err != nil {
		return nil, err
	}
	wb, err := b.Walker()
	if err != nil {
		return nil, err
	}
	return compare(side{wa, nil}, side{wb, nil})
}

// A program that takes too much work, such as one that compares two arguments with each other,
// is refused, and not compared in part or for hours. A program with many paths is compared.
func TestCompareIntricate(t *testing.T) {
	ld := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: bpf.OffsetArgs}
	allow := unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}
	equal := &bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{
		ld,
		{Code: unix.BPF_MISC | unix.BPF_TAX},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: bpf.OffsetArgs + 8},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_X, Jf: 1},
		allow,
		{Code: unix.BPF_RET},
	}}
	_, err := comparePrograms(equal, equal)
	var intricate *bpf.IntricateError
	if !errors.As(err, &intricate) {
		t.Errorf("%v", err)
	}

	many := []unix.SockFilter{ld}
	for bit := range 32 { // each bit is masked out, or not
		many = append(many,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 7, Jf: 1},
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: ^(uint32(1) << bit)})
	}
	p := &bpf.Program{Arch: syscalls.AMD64, Instructions: append(many, allow)}
	if found, err := comparePrograms(p, p); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// Numbers and architectures that no table has are compared too: later kernels and machines may
// have them.
func TestCompareUnassigned(t *testing.T) {
	const audit = unix.AUDIT_ARCH_AARCH64
	program := func(look ...unix.SockFilter) *bpf.Program { // the last instruction skips the first return, or does not
		return &bpf.Program{Arch: syscalls.ARM64, Instructions: append(look,
			unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_LOG}, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW | 7})}
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op, K: k, Jt: yes, Jf: no}
	}
	all := &bpf.Program{Arch: syscalls.ARM64, Instructions: []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}}
	for _, tt := range []struct {
		other *bpf.Program
		want  string
	}{
		{program(load(bpf.OffsetArch), jump(unix.BPF_JEQ, audit, 0, 3), load(bpf.OffsetNr), jump(unix.BPF_JEQ, 5000, 0, 1)), "arm64 number 0x1388: ALLOW, LOG"},
		{program(load(bpf.OffsetArch), jump(unix.BPF_JEQ, audit, 0, 3), load(bpf.OffsetNr), jump(unix.BPF_JGT, 0xffff, 0, 1)), "arm64 number 0x10000: ALLOW, LOG"},
		{program(load(bpf.OffsetArch), jump(unix.BPF_JSET, 0x10000, 0, 1)), "other architecture 0x10000: ALLOW, LOG"},
		{program(load(bpf.OffsetNr), jump(unix.BPF_JEQ, 221, 0, 1)), "arm64 execve: ALLOW, LOG; arm fcntl64: ALLOW, LOG; other architecture 0x0: ALLOW, LOG"},
		{program(load(bpf.OffsetNr), jump(unix.BPF_JGE, 1<<31, 0, 1)), ""}, // no call has such a number
		{program(jump(unix.BPF_JEQ, 0, 1, 0)), ""}, // data of an action that has none
	} {
		found, err := comparePrograms(all, tt.other)
		var got []string
		for _, d := range found {
			got = append(got, d.String())
		}
		if err != nil || strings.Join(got, "; ") != tt.want {
			t.Errorf("got %q, %v; want %q", got, err, tt.want)
		}
	}
}

// Any program of an untrusted process can be compared; a call without a difference has the
// same verdicts when its arguments are 0.
func FuzzForeignProgram(f *testing.F) {
	_, program := compiled(f, parsed(f)["arguments"])
	f.Add(program.Bytes())
	f.Add((&bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}}).Bytes())
	none, err := (&bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}}).Walker()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		insns, err := bpf.Decode(data, binary.LittleEndian)
		if err != nil || len(insns) > 512 {
			return
		}
		p := &bpf.Program{Arch: syscalls.AMD64, Instructions: insns}
		w, err := p.Walker() // it checks as the kernel does before it takes a program
		if err != nil {
			return
		}
		_ = p.Disassemble()
		for _, name := range []string{"read", "socket", "clone3"} { // all calls take their time
			call, _ := bpf.NewCall(syscalls.AMD64, name)
			c := &comparison{solver: bpf.NewSolver(), a: side{w, nil}, b: side{none, nil}}
			err := c.calls(Difference{Call: name}, func() *bpf.Scope { return c.solver.Number(syscalls.AMD64, call.Nr) })
			var intricate *bpf.IntricateError
			if errors.As(err, &intricate) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			v := bpftest.Interpret(t, p, call)
			found := slices.ContainsFunc(c.found, func(d Difference) bool { return d.A == v.String() })
			if v.Effect() != bpf.Verdict(unix.SECCOMP_RET_ALLOW) && !found {
				t.Errorf("%s is %s, which is not found", name, v)
			}
		}
	})
}
