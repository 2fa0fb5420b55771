package bpf

import (
	"encoding/binary"
	"fmt"

	netbpf "golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Emulator runs a program.
type Emulator struct {
	vm    *netbpf.VM
	order binary.ByteOrder
}

// Emulator checks the program and prepares to run it.
func (p *Program) Emulator() (*Emulator, error) {
	raw := make([]netbpf.RawInstruction, len(p.Instructions))
	for i, insn := range p.Instructions {
		var ok bool
		if raw[i], ok = checked(insn); !ok {
			return nil, fmt.Errorf("emulate: instruction %d (%#04x) is none that a filter may have", i, insn.Code)
		}
	}
	insns, ok := netbpf.Disassemble(raw)
	if !ok {
		return nil, fmt.Errorf("emulate: the program has instructions that seccomp(2) does not take")
	}
	vm, err := netbpf.NewVM(insns)
	if err != nil {
		return nil, fmt.Errorf("emulate: %w", err)
	}
	return &Emulator{vm, ByteOrder(p.Arch)}, nil
}

// checked does what seccomp_check_filter of kernel/seccomp.c does: seccomp(2) accepts fewer
// instructions than packet filters may have. As in the kernel, a load of the length becomes
// a load of a constant. NEG is missing, since the virtual machine does not have it.
func checked(insn unix.SockFilter) (netbpf.RawInstruction, bool) {
	const size = 64 // of struct seccomp_data
	raw := netbpf.RawInstruction{Op: insn.Code, Jt: insn.Jt, Jf: insn.Jf, K: insn.K}
	switch insn.Code {
	case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
		return raw, insn.K < size && insn.K%4 == 0
	case unix.BPF_LD | unix.BPF_W | unix.BPF_LEN, unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN:
		raw.Op, raw.K = insn.Code&^unix.BPF_LEN|unix.BPF_IMM, size
		return raw, true
	case unix.BPF_LD | unix.BPF_IMM, unix.BPF_LDX | unix.BPF_IMM, unix.BPF_LD | unix.BPF_MEM, unix.BPF_LDX | unix.BPF_MEM,
		unix.BPF_ST, unix.BPF_STX, unix.BPF_MISC | unix.BPF_TAX, unix.BPF_MISC | unix.BPF_TXA,
		unix.BPF_RET | unix.BPF_K, unix.BPF_RET | unix.BPF_A, unix.BPF_JMP | unix.BPF_JA:
		return raw, true
	}
	switch insn.Code &^ unix.BPF_X {
	case unix.BPF_ALU | unix.BPF_ADD, unix.BPF_ALU | unix.BPF_SUB, unix.BPF_ALU | unix.BPF_MUL, unix.BPF_ALU | unix.BPF_DIV,
		unix.BPF_ALU | unix.BPF_AND, unix.BPF_ALU | unix.BPF_OR, unix.BPF_ALU | unix.BPF_XOR,
		unix.BPF_ALU | unix.BPF_LSH, unix.BPF_ALU | unix.BPF_RSH,
		unix.BPF_JMP | unix.BPF_JEQ, unix.BPF_JMP | unix.BPF_JGE, unix.BPF_JMP | unix.BPF_JGT, unix.BPF_JMP | unix.BPF_JSET:
		return raw, true
	}
	return raw, false
}

// Run returns the verdict on a call. The virtual machine is made for packets and loads
// big-endian words, so each 32-bit word of seccomp_data is stored big-endian. The order of
// the halves of 64-bit fields is the target's.
func (e *Emulator) Run(c Call) (Verdict, error) {
	var data [64]byte
	put := func(offset int, v uint32) { binary.BigEndian.PutUint32(data[offset:], v) }
	put64 := func(offset int, v uint64) {
		first, second := uint32(v), uint32(v>>32)
		if e.order == binary.BigEndian {
			first, second = second, first
		}
		put(offset, first)
		put(offset+4, second)
	}
	put(OffsetNr, c.Nr)
	put(OffsetArch, c.Arch)
	put64(OffsetIP, c.IP)
	for i, arg := range c.Args {
		put64(OffsetArgs+8*i, arg)
	}
	v, err := e.vm.Run(data[:])
	return Verdict(v), err
}
