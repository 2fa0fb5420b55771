package seccomp

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// Call is a system call as a filter sees it: struct seccomp_data.
type Call struct {
	Nr   uint32 // of an x32 call with its bit
	Arch uint32 // AUDIT_ARCH_*
	IP   uint64
	Args [6]uint64
}

// Verdict is what a filter returns: SECCOMP_RET_* and, in the lower 16 bits, data.
type Verdict uint32

// Action is the verdict without its data.
func (v Verdict) Action() uint32 { return uint32(v) & unix.SECCOMP_RET_ACTION_FULL }

// Data is an errno for SECCOMP_RET_ERRNO, and a tracer's or handler's business else.
func (v Verdict) Data() uint32 { return uint32(v) & unix.SECCOMP_RET_DATA }

// String gives ALLOW, ERRNO(EPERM), KILL_PROCESS, ...
func (v Verdict) String() string {
	switch v.Action() {
	case unix.SECCOMP_RET_KILL_PROCESS:
		return "KILL_PROCESS"
	case unix.SECCOMP_RET_KILL_THREAD:
		return "KILL_THREAD"
	case unix.SECCOMP_RET_TRAP:
		return "TRAP"
	case unix.SECCOMP_RET_ERRNO:
		if name := unix.ErrnoName(unix.Errno(v.Data())); name != "" {
			return "ERRNO(" + name + ")"
		}
		return fmt.Sprintf("ERRNO(%d)", v.Data())
	case unix.SECCOMP_RET_USER_NOTIF:
		return "NOTIFY"
	case unix.SECCOMP_RET_TRACE:
		return fmt.Sprintf("TRACE(%d)", v.Data())
	case unix.SECCOMP_RET_LOG:
		return "LOG"
	case unix.SECCOMP_RET_ALLOW:
		return "ALLOW"
	}
	return fmt.Sprintf("%#x", uint32(v)) // the kernel kills the process
}

// Emulator runs a program.
type Emulator struct {
	vm    *bpf.VM
	order binary.ByteOrder
}

// Emulator checks the program and prepares to run it.
func (p *Program) Emulator() (*Emulator, error) {
	raw := make([]bpf.RawInstruction, len(p.Instructions))
	for i, insn := range p.Instructions {
		var ok bool
		if raw[i], ok = checked(insn); !ok {
			return nil, fmt.Errorf("emulate: instruction %d (%#04x) is none that a filter may have", i, insn.Code)
		}
	}
	insns, ok := bpf.Disassemble(raw)
	if !ok {
		return nil, fmt.Errorf("emulate: the program has instructions that seccomp(2) does not take")
	}
	vm, err := bpf.NewVM(insns)
	if err != nil {
		return nil, fmt.Errorf("emulate: %w", err)
	}
	return &Emulator{vm, order(p.Arch)}, nil
}

// checked is seccomp_check_filter of kernel/seccomp.c: what seccomp(2) takes is
// less than what a packet filter may have. A load of the length is one of a
// constant, for the kernel as here. NEG is missing: the virtual machine has none.
func checked(insn unix.SockFilter) (bpf.RawInstruction, bool) {
	const size = 64 // of struct seccomp_data
	raw := bpf.RawInstruction{Op: insn.Code, Jt: insn.Jt, Jf: insn.Jf, K: insn.K}
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

// Run gives the verdict on a call. The virtual machine is one for packets: it
// loads big-endian words, so each 32-bit word of seccomp_data is laid out so, in
// the order that the target's byte order gives to the halves of 64-bit fields.
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
	put(offNr, c.Nr)
	put(offArch, c.Arch)
	put64(offIP, c.IP)
	for i, arg := range c.Args {
		put64(offArgs+8*i, arg)
	}
	v, err := e.vm.Run(data[:])
	return Verdict(v), err
}

// NewCall names a call of an architecture. It is false when there is none.
func NewCall(a syscalls.Arch, name string, args ...uint64) (Call, bool) {
	nr, ok := syscalls.Number(a, name)
	c := Call{Nr: nr, Arch: a.Audit()}
	copy(c.Args[:], args)
	return c, ok
}
