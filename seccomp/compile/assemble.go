package compile

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
)

// label is the target of a jump; none is the next instruction.
type label int

const none label = -1

// assembler makes a program whose jumps name labels. Classic BPF jumps forward only, and
// conditionally by at most 255 instructions (bpf(4)).
type assembler struct {
	insns  []unix.SockFilter
	places []int // by label: the index of its instruction
	jumps  []pendingJump
}

type pendingJump struct {
	at              int
	always          bool
	ifTrue, ifFalse label
}

func (a *assembler) label() label {
	a.places = append(a.places, -1)
	return label(len(a.places) - 1)
}

func (a *assembler) place(l label) { a.places[l] = len(a.insns) }

func (a *assembler) emit(code uint16, k uint32) {
	a.insns = append(a.insns, unix.SockFilter{Code: code, K: k})
}

func (a *assembler) load(offset uint32) { a.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset) }
func (a *assembler) and(mask uint32)    { a.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask) }
func (a *assembler) ret(value uint32)   { a.emit(unix.BPF_RET|unix.BPF_K, value) }

func (a *assembler) goTo(l label) {
	a.jumps = append(a.jumps, pendingJump{at: len(a.insns), always: true, ifTrue: l})
	a.emit(unix.BPF_JMP|unix.BPF_JA, 0)
}

func (a *assembler) jump(op uint16, k uint32, ifTrue, ifFalse label) {
	a.jumps = append(a.jumps, pendingJump{at: len(a.insns), ifTrue: ifTrue, ifFalse: ifFalse})
	a.emit(unix.BPF_JMP|op|unix.BPF_K, k)
}

// program resolves the labels. A label at the end stands for the instruction that follows.
func (a *assembler) program() ([]unix.SockFilter, error) {
	for _, j := range a.jumps {
		distance := func(l label) int {
			if l == none {
				return 0
			}
			return a.places[l] - j.at - 1
		}
		t, f := distance(j.ifTrue), distance(j.ifFalse)
		if j.always {
			a.insns[j.at].K = uint32(t)
			continue
		}
		if t < 0 || f < 0 || t > 255 || f > 255 {
			return nil, errors.New("seccomp stub: a jump is too long")
		}
		a.insns[j.at].Jt, a.insns[j.at].Jf = uint8(t), uint8(f)
	}
	return a.insns, nil
}

// low and high are the offsets of an argument's halves in struct seccomp_data,
// which has the target's byte order.
func low(index uint, little bool) uint32 {
	if little {
		return bpf.OffsetArgs + 8*uint32(index)
	}
	return bpf.OffsetArgs + 8*uint32(index) + 4
}

func high(index uint, little bool) uint32 {
	if little {
		return bpf.OffsetArgs + 8*uint32(index) + 4
	}
	return bpf.OffsetArgs + 8*uint32(index)
}

// compare jumps to fail unless the condition holds.
func (a *assembler) compare(arg specs.LinuxSeccompArg, little bool, fail label) {
	hi, lo := uint32(arg.Value>>32), uint32(arg.Value)
	holds := a.label()
	switch arg.Op {
	case specs.OpMaskedEqual: // (argument & value) == (valueTwo & value), as in libseccomp
		a.load(high(arg.Index, little))
		a.and(hi)
		a.jump(unix.BPF_JEQ, uint32(arg.ValueTwo>>32)&hi, none, fail)
		a.load(low(arg.Index, little))
		a.and(lo)
		a.jump(unix.BPF_JEQ, uint32(arg.ValueTwo)&lo, none, fail)
	case specs.OpEqualTo:
		a.load(high(arg.Index, little))
		a.jump(unix.BPF_JEQ, hi, none, fail)
		a.load(low(arg.Index, little))
		a.jump(unix.BPF_JEQ, lo, none, fail)
	case specs.OpNotEqual:
		a.load(high(arg.Index, little))
		a.jump(unix.BPF_JEQ, hi, none, holds)
		a.load(low(arg.Index, little))
		a.jump(unix.BPF_JEQ, lo, fail, none)
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		a.load(high(arg.Index, little))
		a.jump(unix.BPF_JGT, hi, holds, none)
		a.jump(unix.BPF_JEQ, hi, none, fail)
		a.load(low(arg.Index, little))
		if arg.Op == specs.OpGreaterThan {
			a.jump(unix.BPF_JGT, lo, none, fail)
		} else {
			a.jump(unix.BPF_JGE, lo, none, fail)
		}
	case specs.OpLessThan, specs.OpLessEqual:
		a.load(high(arg.Index, little))
		a.jump(unix.BPF_JGT, hi, fail, none)
		a.jump(unix.BPF_JEQ, hi, none, holds)
		a.load(low(arg.Index, little))
		if arg.Op == specs.OpLessThan {
			a.jump(unix.BPF_JGE, lo, fail, none)
		} else {
			a.jump(unix.BPF_JGT, lo, fail, none)
		}
	}
	a.place(holds)
}
