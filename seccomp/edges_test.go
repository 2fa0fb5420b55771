package seccomp

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Filters that no profile tells about, as dump meets them: each against one that
// lets all calls through.
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
		look []unix.SockFilter // at read(2); two instructions behind the last is death, in front of it is life
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
			found, err := Compare(p, none)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range found {
				got = append(got, d.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A program with more ways through it than can be walked is refused, not
// compared in part or for hours.
func TestCompareIntricate(t *testing.T) {
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: bpf.OffsetArgs}}
	for bit := range 32 { // each bit is masked out, or not
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 7, Jf: 1},
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: ^(uint32(1) << bit)})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW})
	p := &bpf.Program{Arch: syscalls.AMD64, Instructions: program}
	if _, err := Compare(p, p); !errors.Is(err, intricateError{}) {
		t.Errorf("%v", err)
	}
}

// A stranger's filter, as dump meets it, breaks nothing; what a comparison passes
// over really is the same for the plainest arguments.
func FuzzForeignProgram(f *testing.F) {
	_, program := compiled(f, parsed(f)["arguments"])
	f.Add(program.Bytes())
	f.Add((&bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}}).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		insns, err := bpf.Decode(data, binary.LittleEndian)
		if err != nil || len(insns) > 512 {
			return
		}
		p := &bpf.Program{Arch: syscalls.AMD64, Instructions: insns}
		e, err := p.Emulator() // it checks as the kernel does before it takes a program
		if err != nil {
			return
		}
		_ = p.Disassemble()
		none := &bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}}
		all, err := none.Emulator()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"read", "socket", "clone3"} { // Compare takes every call, and its time
			call, _ := bpf.NewCall(syscalls.AMD64, name)
			edges, err := edgesOf(call, p, none)
			if err != nil {
				return
			}
			found, err := compareCall(Difference{Call: name}, call, edges, e, all)
			if err != nil {
				t.Fatal(err)
			}
			v, err := e.Run(call)
			if err != nil {
				t.Fatal(err)
			}
			told := slices.ContainsFunc(found, func(d Difference) bool { return d.A == v.String() })
			if v != bpf.Verdict(unix.SECCOMP_RET_ALLOW) && !told {
				t.Errorf("%s is %s, which is not told", name, v)
			}
		}
	})
}
