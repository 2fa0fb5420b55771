package trace

import (
	"encoding/binary"

	"github.com/cilium/ebpf/asm"
)

// RegsSize is the size of the registers of a caller: struct pt_regs of amd64.
const RegsSize = 21 * 8

// Offsets of registers in struct pt_regs (arch/x86/include/asm/ptrace.h).
const (
	RegsNr = 15 * 8 // orig_ax: the number of the call
	RegsIP = 16 * 8
)

// RegsArg64 and RegsArg32 are the offsets of the six arguments of a call, for those of
// amd64 and x32 (syscall(2)) and those of i386.
func RegsArg64() [6]uint8 { return [6]uint8{14 * 8, 13 * 8, 12 * 8, 7 * 8, 9 * 8, 8 * 8} }  // di si dx r10 r8 r9
func RegsArg32() [6]uint8 { return [6]uint8{5 * 8, 11 * 8, 12 * 8, 13 * 8, 14 * 8, 4 * 8} } // bx cx dx si di bp

// Call is a system call, as its caller's registers have it.
type Call struct {
	Compat bool   // it is a call of i386, by int 0x80 or sysenter
	Nr     uint32 // with x32's bit
	IP     uint64
	Args   [6]uint64
}

// ReadCall reads the registers of a caller.
func ReadCall(regs []byte, compat bool) Call {
	at := func(offset uint8) uint64 { return binary.NativeEndian.Uint64(regs[offset:]) }
	c := Call{Compat: compat, Nr: uint32(at(RegsNr)), IP: at(RegsIP)}
	offsets := RegsArg64()
	if compat {
		offsets = RegsArg32()
	}
	for i, offset := range offsets {
		c.Args[i] = at(offset)
		if compat {
			c.Args[i] &= 0xffffffff
		}
	}
	return c
}

// LoadRegs copies the registers of a caller from where regs points, to an offset from where
// to points. It changes R0 to R5.
func LoadRegs(to asm.Register, offset int16, regs asm.Register) asm.Instructions {
	return readKernelTo(to, offset, RegsSize, regs)
}

func readKernel(stack int16, size int32, from asm.Register) asm.Instructions {
	return readKernelTo(asm.RFP, stack, size, from)
}

func readKernelTo(to asm.Register, offset int16, size int32, from asm.Register) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R3, from),
		asm.Mov.Reg(asm.R1, to),
		asm.Add.Imm(asm.R1, int32(offset)),
		asm.Mov.Imm(asm.R2, size),
		asm.FnProbeReadKernel.Call(),
	}
}

// LoadCompat sets R0 to 0 if the current call is one of amd64 or x32, and to another value
// if it is one of i386, which a 64-bit process can make, too. It uses 8 bytes of the stack
// at an offset from the frame pointer, and changes R1 to R5.
func LoadCompat(stack int16) asm.Instructions {
	const tsCompat = 2
	return loadThreadInfo(stack, threadStatus, tsCompat)
}

// loadWork sets R0 to another value than 0 if the current task has a seccomp filter. It
// uses the stack as LoadCompat does.
func loadWork(stack int16) asm.Instructions {
	const syscallWorkSeccomp = 1
	return loadThreadInfo(stack, threadWork, syscallWorkSeccomp)
}

// task_struct begins with thread_info: two longs, of flags and of work to do at calls, and
// 32 bits of status (Linux 5.11, arch/x86/include/asm/thread_info.h).
const (
	threadWork   = 8
	threadStatus = 16
)

func loadThreadInfo(stack int16, offset, mask int32) asm.Instructions {
	load := asm.Instructions{
		asm.StoreImm(asm.RFP, stack, 0, asm.DWord),
		asm.FnGetCurrentTask.Call(),
		asm.Add.Imm(asm.R0, offset),
	}
	load = append(load, readKernel(stack, 4, asm.R0)...)
	return append(load,
		asm.LoadMem(asm.R0, asm.RFP, stack, asm.Word),
		asm.And.Imm(asm.R0, mask),
	)
}
