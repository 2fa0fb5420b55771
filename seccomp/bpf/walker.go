package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Walker takes all calls of a scope through a program at once. Programs have no loops, so it
// visits each instruction once, after all that lead there, with the set of calls that reach
// it and the content of the registers for each of them. So the work does not grow with the
// number of paths.
type Walker struct {
	program *Program
	emu     *Emulator
	live    []uint32 // for each instruction, the registers that are read from there on: bits below
	states  []state
	pending int
}

// state is what is known where an instruction is reached.
type state struct {
	calls  node // that reach it
	a, x   word
	memory *[memoryWords]word // nil is all zero; shared between states, so never written to
}

// memoryWords is BPF_MEMWORDS of linux/bpf_common.h.
const memoryWords = 16

// Bits of Walker.live. Those above liveMemory are further words of memory.
const (
	liveA      = 1 << 0
	liveX      = 1 << 1
	liveMemory = 1 << 2
)

// Outcome is a verdict, and the calls of the scope that get it. The set is not empty.
type Outcome struct {
	Verdict Verdict
	Calls   Set
}

// Walker checks the program as seccomp(2) does, and prepares to walk it.
func (p *Program) Walker() (*Walker, error) {
	emu, err := p.Emulator()
	if err != nil {
		return nil, err
	}
	w := &Walker{program: p, emu: emu, live: make([]uint32, len(p.Instructions)), states: make([]state, len(p.Instructions))}
	for at := len(p.Instructions) - 1; at >= 0; at-- {
		insn := p.Instructions[at]
		var later uint32
		switch {
		case insn.Code&0x07 == unix.BPF_RET:
		case insn.Code == unix.BPF_JMP|unix.BPF_JA:
			later = w.live[at+1+int(insn.K)]
		case insn.Code&0x07 == unix.BPF_JMP:
			later = w.live[at+1+int(insn.Jt)] | w.live[at+1+int(insn.Jf)]
		default:
			later = w.live[at+1]
		}
		reads, writes := registers(insn)
		w.live[at] = later&^writes | reads
	}
	return w, nil
}

// Program returns the program that is walked.
func (w *Walker) Program() *Program { return w.program }

// Confirm runs the emulator, which shares no code with the walk, on one call. It returns an
// error if the verdict is another one.
func (w *Walker) Confirm(c Call, want Verdict) error {
	got, err := w.emu.Run(c)
	if err == nil && got != want {
		err = fmt.Errorf("the verdict on %+v is said to be %s, and is %s: this is a bug of minirun", c, want, got)
	}
	return err
}

// registers returns the registers that an instruction reads and writes.
func registers(insn unix.SockFilter) (reads, writes uint32) {
	memory := uint32(liveMemory) << (insn.K % memoryWords)
	if mode := insn.Code & 0xe0; mode != unix.BPF_MEM {
		memory = 0
	}
	switch insn.Code & 0x07 {
	case unix.BPF_LD:
		return memory, liveA
	case unix.BPF_LDX:
		return memory, liveX
	case unix.BPF_ST:
		return liveA, liveMemory << (insn.K % memoryWords)
	case unix.BPF_STX:
		return liveX, liveMemory << (insn.K % memoryWords)
	case unix.BPF_ALU:
		return liveA | operandX(insn), liveA
	case unix.BPF_JMP:
		if insn.Code == unix.BPF_JMP|unix.BPF_JA {
			return 0, 0
		}
		return liveA | operandX(insn), 0
	case unix.BPF_RET:
		if insn.Code == unix.BPF_RET|unix.BPF_A {
			return liveA, 0
		}
		return 0, 0
	}
	if insn.Code == unix.BPF_MISC|unix.BPF_TAX {
		return liveA, liveX
	}
	return liveX, liveA // TXA
}

func operandX(insn unix.SockFilter) uint32 {
	if insn.Code&unix.BPF_X != 0 {
		return liveX
	}
	return 0
}

// Verdicts divides the calls of a scope by the program's verdicts on them. It must be called
// within a question, see [Solver.Ask].
func (w *Walker) Verdicts(c *Scope) []Outcome {
	if w.pending > 0 { // an earlier question was too intricate
		clear(w.states)
		w.pending = 0
	}
	r := &walk{w, c, c.solver.diagrams, nil}
	r.arrive(0, state{calls: c.all})
	for at := 0; w.pending > 0; at++ {
		if w.states[at].calls == nothing {
			continue
		}
		s := w.states[at]
		w.states[at] = state{}
		r.visit(at, s)
		w.pending--
	}
	return r.outcomes
}

// walk is one walk through a program.
type walk struct {
	*Walker
	scope    *Scope
	diagrams *diagrams
	outcomes []Outcome
}

// arrive brings calls to an instruction.
func (r *walk) arrive(at int, s state) {
	if s.calls == nothing {
		return
	}
	there := &r.states[at]
	if there.calls == nothing {
		*there = s
		r.pending++
		return
	}
	live, d := r.live[at], r.diagrams
	if live&liveA != 0 {
		s.a = d.merge(s.calls, s.a, there.a)
	}
	if live&liveX != 0 {
		s.x = d.merge(s.calls, s.x, there.x)
	}
	if live >= liveMemory && s.memory != there.memory {
		var merged [memoryWords]word
		for i := range merged {
			if live&(liveMemory<<i) != 0 {
				merged[i] = d.merge(s.calls, s.cell(i), there.cell(i))
			}
		}
		s.memory = &merged
	}
	s.calls = d.or(s.calls, there.calls)
	*there = s
}

func (s *state) cell(i int) word {
	if s.memory == nil {
		return word{}
	}
	return s.memory[i]
}

func (s *state) store(i uint32, v word) {
	var memory [memoryWords]word
	if s.memory != nil {
		memory = *s.memory
	}
	memory[i] = v
	s.memory = &memory
}

// visit does what an instruction does.
func (r *walk) visit(at int, s state) {
	insn := r.program.Instructions[at]
	operand := word{number: insn.K}
	if insn.Code&unix.BPF_X != 0 {
		operand = s.x
	}
	next := at + 1
	switch insn.Code & 0x07 {
	case unix.BPF_RET:
		if insn.Code != unix.BPF_RET|unix.BPF_A {
			s.a = word{number: insn.K}
		}
		r.ret(s.calls, s.a)
		return
	case unix.BPF_JMP:
		if insn.Code == unix.BPF_JMP|unix.BPF_JA {
			next += int(insn.K)
			break
		}
		calls, yes := s.calls, r.diagrams.compare(insn.Code&0xf0, s.a, operand)
		s.calls = r.diagrams.and(calls, yes)
		r.arrive(next+int(insn.Jt), s)
		s.calls = r.diagrams.ite(yes, nothing, calls)
		next += int(insn.Jf)
	case unix.BPF_LD:
		s.a = r.load(insn, &s)
	case unix.BPF_LDX:
		s.x = r.load(insn, &s)
	case unix.BPF_ST:
		s.store(insn.K, s.a)
	case unix.BPF_STX:
		s.store(insn.K, s.x)
	case unix.BPF_ALU:
		if insn.Code&0xf0 == unix.BPF_DIV && operand == (word{}) {
			r.ret(s.calls, word{}) // a division by 0 ends the program with 0, as in the kernel
			return
		}
		s.a = r.diagrams.compute(insn.Code&0xf0, s.a, operand)
	case unix.BPF_MISC:
		if insn.Code == unix.BPF_MISC|unix.BPF_TAX {
			s.x = s.a
		} else {
			s.a = s.x
		}
	}
	r.arrive(next, s)
}

func (r *walk) load(insn unix.SockFilter, s *state) word {
	switch insn.Code & 0xe0 {
	case unix.BPF_ABS:
		return r.scope.word(int(insn.K / 4))
	case unix.BPF_MEM:
		return s.cell(int(insn.K))
	case unix.BPF_LEN:
		return word{number: 4 * wordCount}
	}
	return word{number: insn.K} // BPF_IMM
}

// ret ends the walk for some calls. If value depends on the call, each value is an outcome.
func (r *walk) ret(calls node, value word) {
	for value.bits != nil && calls != nothing {
		var bits [32 * wordCount]bool
		r.diagrams.least(calls, func(bit int32) { bits[bit] = true })
		var number uint32
		for i, n := range value.bits {
			if r.diagrams.member(n, func(bit int32) bool { return bits[bit] }) {
				number |= 1 << i
			}
		}
		with := r.diagrams.equal(value.bits[:], uint64(number))
		r.outcome(Verdict(number), r.diagrams.and(calls, with))
		calls = r.diagrams.ite(with, nothing, calls)
	}
	if calls != nothing {
		r.outcome(Verdict(value.number), calls)
	}
}

func (r *walk) outcome(v Verdict, calls node) {
	for i := range r.outcomes {
		if o := &r.outcomes[i]; o.Verdict == v {
			o.Calls.node = r.diagrams.or(o.Calls.node, calls)
			return
		}
	}
	r.diagrams.step()
	r.outcomes = append(r.outcomes, Outcome{v, Set{r.scope, calls}})
}
