package seccomp

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
)

// edges are the values at which programs may change their mind about a call: of
// each 32-bit half of each argument those that it is compared with, and their
// neighbours. Programs tell themselves, so the filters of strangers do too.
type edges struct {
	low, high [6][]uint32
}

// maxStates bounds a walk: a stranger's program can have it take more ways than
// there is time for. Docker's profile has some hundred for a call.
const maxStates = 1 << 14

// intricateError is a program that goes beyond maxStates.
type intricateError struct{}

func (intricateError) Error() string {
	return "the program is too intricate: what it compares arguments with cannot be told"
}

// Hint says what to do.
func (intricateError) Hint() string {
	return "read it: 'minirun seccomp dump PID' prints the filters of a process"
}

// edgesOf looks at all ways that a call can take through the programs. The
// call's arguments do not matter.
func edgesOf(c bpf.Call, programs ...*bpf.Program) (*edges, error) {
	e := &edges{}
	for _, p := range programs {
		w := &edgeWalk{p, c, e, map[edgeState]bool{}}
		w.from(edgeState{})
		if len(w.seen) >= maxStates {
			return nil, intricateError{}
		}
	}
	return e, nil
}

// edgeState is an instruction, and what is known of the accumulator there.
type edgeState struct {
	at     int
	known  bool // it holds value, else what was loaded from offset, masked, or anything
	value  uint32
	offset uint32 // 0 is unclear: numbers are known
	mask   uint32
}

type edgeWalk struct {
	program *bpf.Program
	call    bpf.Call
	found   *edges
	seen    map[edgeState]bool
}

func (w *edgeWalk) from(s edgeState) {
	for s.at < len(w.program.Instructions) && !w.seen[s] && len(w.seen) < maxStates {
		w.seen[s] = true
		insn := w.program.Instructions[s.at]
		s.at++
		switch class := insn.Code & 0x07; {
		case class == unix.BPF_RET:
			return
		case insn.Code == unix.BPF_JMP|unix.BPF_JA:
			s.at += int(insn.K)
		case class == unix.BPF_JMP && s.known && insn.Code&unix.BPF_X == 0:
			s.at += int(taken(insn, s.value))
		case class == unix.BPF_JMP:
			if s.offset != 0 && insn.Code&unix.BPF_X == 0 {
				w.compared(s, insn)
			}
			other := s
			other.at += int(insn.Jf)
			w.from(other)
			s.at += int(insn.Jt)
		default:
			s = w.computed(s, insn)
		}
	}
}

// taken is how far a comparison jumps.
func taken(insn unix.SockFilter, a uint32) uint8 {
	yes := false
	switch insn.Code & 0xf0 {
	case unix.BPF_JEQ:
		yes = a == insn.K
	case unix.BPF_JGT:
		yes = a > insn.K
	case unix.BPF_JGE:
		yes = a >= insn.K
	case unix.BPF_JSET:
		yes = a&insn.K != 0
	}
	if yes {
		return insn.Jt
	}
	return insn.Jf
}

// computed is the state behind an instruction that does not jump.
func (w *edgeWalk) computed(s edgeState, insn unix.SockFilter) edgeState {
	unclear := edgeState{at: s.at}
	switch class := insn.Code & 0x07; {
	case insn.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS:
		switch {
		case insn.K == bpf.OffsetNr:
			return edgeState{at: s.at, known: true, value: w.call.Nr}
		case insn.K == bpf.OffsetArch:
			return edgeState{at: s.at, known: true, value: w.call.Arch}
		case insn.K >= bpf.OffsetArgs:
			return edgeState{at: s.at, offset: insn.K, mask: ^uint32(0)}
		}
		return unclear
	case insn.Code == unix.BPF_ALU|unix.BPF_AND|unix.BPF_K:
		s.value &= insn.K
		s.mask &= insn.K
		return s
	case class == unix.BPF_ALU, class == unix.BPF_LD, insn.Code == unix.BPF_MISC|unix.BPF_TXA:
		return unclear
	}
	return s // the accumulator is as it was
}

// compared notes what an argument's half is compared with.
func (w *edgeWalk) compared(s edgeState, insn unix.SockFilter) {
	index, first := (s.offset-bpf.OffsetArgs)/8, s.offset%8 == 0
	half := &w.found.high[index]
	if first == (bpf.ByteOrder(w.program.Arch) == binary.LittleEndian) {
		half = &w.found.low[index]
	}
	bits := uint32(0)
	switch {
	case insn.Code&0xf0 == unix.BPF_JSET:
		bits = s.mask & insn.K
	case s.mask != ^uint32(0):
		bits = s.mask
	}
	values := []uint32{0, insn.K - 1, insn.K, insn.K + 1, insn.K | ^s.mask, ^uint32(0)}
	for bit := range 32 {
		if bits&(1<<bit) != 0 {
			values = append(values, insn.K^1<<bit, 1<<bit)
		}
	}
	*half = append(*half, values...)
}

// arguments is how many arguments matter: the last that does, and one.
func (e *edges) arguments() int {
	for i := len(e.low); i > 0; i-- {
		if len(e.low[i-1])+len(e.high[i-1]) > 0 {
			return i
		}
	}
	return 0
}

// samples gives arguments at all edges in all combinations, the small ones first.
func (e *edges) samples() [][6]uint64 {
	var values [6][]uint64
	for i := range values {
		for _, high := range ordered(e.high[i]) {
			for _, low := range ordered(e.low[i]) {
				values[i] = append(values[i], uint64(high)<<32|uint64(low))
			}
		}
	}
	return combinations(values)
}

func ordered(values []uint32) []uint32 {
	if len(values) == 0 {
		return []uint32{0}
	}
	slices.Sort(values)
	return slices.Compact(values)
}
