package bpf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// Disassemble returns the program as text, with names for fields and values and labels for
// jumps. The number of a call is named according to the architecture that the program has
// compared before; where paths of different architectures meet it stays a number.
func (p *Program) Disassemble() string {
	d := &disassembler{program: p, labels: map[int]string{}, arch: make([]knownArch, len(p.Instructions)+1)}
	d.walk()
	d.mark()
	var b strings.Builder
	for i, insn := range p.Instructions {
		if label, ok := d.labels[i]; ok {
			fmt.Fprintf(&b, "%s:\n", label)
		}
		fmt.Fprintf(&b, "%5d  %s\n", i, d.text(i, insn))
	}
	return b.String()
}

// knownArch is what is known where an instruction is reached: the content of the accumulator,
// and the architecture of the call.
type knownArch struct {
	reached bool
	loaded  uint32 // offset in seccomp_data of what the accumulator holds, or unclear
	audit   uint32
	arch    bool // audit is known
}

const unclear = ^uint32(0)

type disassembler struct {
	program *Program
	labels  map[int]string
	arch    []knownArch
}

// walk follows all paths through the program, which lead forward only.
func (d *disassembler) walk() {
	d.arch[0] = knownArch{reached: true, loaded: unclear}
	for i, insn := range d.program.Instructions {
		state := d.arch[i]
		if !state.reached {
			continue
		}
		switch class := insn.Code & 0x07; {
		case class == unix.BPF_RET:
		case insn.Code == unix.BPF_JMP|unix.BPF_JA:
			d.meet(i+1+int(insn.K), state)
		case class == unix.BPF_JMP:
			d.meet(i+1+int(insn.Jf), state)
			if state.loaded == OffsetArch && insn.Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K {
				state.audit, state.arch = insn.K, true
			}
			d.meet(i+1+int(insn.Jt), state)
		case insn.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS:
			state.loaded = insn.K
			d.meet(i+1, state)
		default: // the result of arithmetic has no name
			state.loaded = unclear
			d.meet(i+1, state)
		}
	}
}

// mark gives a label to the target of each jump, even of one that is never reached.
func (d *disassembler) mark() {
	targets := map[int]bool{}
	for i, insn := range d.program.Instructions {
		switch {
		case insn.Code == unix.BPF_JMP|unix.BPF_JA:
			targets[i+1+int(insn.K)] = true
		case insn.Code&0x07 == unix.BPF_JMP && insn.Code&unix.BPF_X == 0:
			yes, no := i+1+int(insn.Jt), i+1+int(insn.Jf)
			targets[yes], targets[no] = targets[yes] || insn.Jt > 0, targets[no] || insn.Jf > 0
		}
	}
	n := 0
	for i := range d.program.Instructions {
		if targets[i] {
			n++
			d.labels[i] = fmt.Sprintf("L%d", n)
		}
	}
}

// label returns the label of an instruction. One outside of the program, to which seccomp(2)
// accepts no jump, has its number only.
func (d *disassembler) label(at int) string {
	return cmp.Or(d.labels[at], strconv.Itoa(at))
}

func (d *disassembler) meet(at int, state knownArch) {
	if at < 0 || at >= len(d.arch) {
		return
	}
	was := d.arch[at]
	if was.reached {
		if was.loaded != state.loaded {
			state.loaded = unclear
		}
		state.arch = state.arch && was.arch && was.audit == state.audit
	}
	state.reached = true
	d.arch[at] = state
}

func (d *disassembler) text(i int, insn unix.SockFilter) string {
	state := d.arch[i]
	switch insn.Code & 0x07 {
	case unix.BPF_LD:
		if insn.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS {
			return "load " + d.field(insn.K)
		}
	case unix.BPF_ALU:
		if insn.Code == unix.BPF_ALU|unix.BPF_AND|unix.BPF_K {
			return fmt.Sprintf("and  %#x", insn.K)
		}
	case unix.BPF_RET:
		if insn.Code == unix.BPF_RET|unix.BPF_K {
			return "ret  " + d.verdict(insn.K)
		}
	case unix.BPF_JMP:
		if insn.Code == unix.BPF_JMP|unix.BPF_JA {
			return "jump " + d.label(i+1+int(insn.K))
		}
		if name, ok := comparisons[insn.Code&0xf0]; ok && insn.Code&unix.BPF_X == 0 {
			return fmt.Sprintf("if %s %s %s%s", d.subject(state), name, d.operand(state, insn), d.ways(i, insn))
		}
	}
	return fmt.Sprintf("raw  %#02x %d %d %#x", insn.Code, insn.Jt, insn.Jf, insn.K)
}

// verdict returns a verdict's name, or its number if the name would leave data out.
func (d *disassembler) verdict(k uint32) string {
	v := Verdict(k)
	if a := v.Action(); v.Data() != 0 && a != unix.SECCOMP_RET_ERRNO && a != unix.SECCOMP_RET_TRACE {
		return fmt.Sprintf("%#x", k)
	}
	return v.String()
}

// subject names what is compared: the field that the accumulator holds.
func (d *disassembler) subject(state knownArch) string {
	if state.loaded == unclear {
		return "A"
	}
	return d.field(state.loaded)
}

var comparisons = map[uint16]string{unix.BPF_JEQ: "==", unix.BPF_JGT: ">", unix.BPF_JGE: ">=", unix.BPF_JSET: "has"}

func (d *disassembler) ways(i int, insn unix.SockFilter) string {
	text := ""
	if insn.Jt > 0 {
		text += " then " + d.label(i+1+int(insn.Jt))
	}
	if insn.Jf > 0 {
		text += " else " + d.label(i+1+int(insn.Jf))
	}
	return text
}

func (d *disassembler) operand(state knownArch, insn unix.SockFilter) string {
	plain := fmt.Sprintf("%#x", insn.K)
	switch {
	case state.loaded == OffsetArch:
		if a, ok := syscalls.FromAudit(insn.K, 0); ok {
			return a.String()
		}
	case state.loaded == OffsetNr && insn.K == X32Bit:
		return "the x32 bit"
	case state.loaded == OffsetNr && state.arch && insn.Code&0xf0 != unix.BPF_JSET:
		if a, ok := syscalls.FromAudit(state.audit, insn.K); ok {
			if name, ok := syscalls.NameOf(a, insn.K); ok {
				return fmt.Sprintf("%s (%#x)", name, insn.K)
			}
		}
	}
	return plain
}

// field names a word of struct seccomp_data.
func (d *disassembler) field(offset uint32) string {
	switch offset {
	case OffsetNr:
		return "nr"
	case OffsetArch:
		return "arch"
	}
	half := "low"
	if first := offset%8 == 0; first != (ByteOrder(d.program.Arch) == binary.LittleEndian) {
		half = "high"
	}
	if offset < OffsetArgs {
		return "instruction_pointer." + half
	}
	return fmt.Sprintf("args[%d].%s", (offset-OffsetArgs)/8, half)
}
