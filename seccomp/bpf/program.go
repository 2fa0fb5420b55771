// Package bpf reads, runs and analyzes the programs of seccomp filters. They are classic
// BPF as seccomp(2) accepts it: they load 32-bit words of struct seccomp_data, compute, jump
// forward, and return a verdict. A filter may have been compiled by this module or read from
// a live process.
//
// The answer of a [Walker] is exact for every filter that seccomp(2) accepts, or an
// [IntricateError], never a guess. The [Emulator] shares no code with it. Neither knows the
// other filters of a process, or what the kernel does with a verdict.
//
// Nothing here needs a privilege or cgo. A Program must not be changed while a Walker or an
// Emulator of it is in use. An Emulator may be used concurrently; a Walker, and a [Solver]
// with its Scopes and Sets, only by one goroutine at a time.
//
// The API is not stable before version 1.
package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// Offsets in struct seccomp_data, linux/seccomp.h:
//
//	struct seccomp_data {
//		int nr;                       0
//		__u32 arch;                   4
//		__u64 instruction_pointer;    8
//		__u64 args[6];               16
//	};
const (
	OffsetNr   = 0
	OffsetArch = 4
	OffsetIP   = 8
	OffsetArgs = 16
)

// X32Bit is __X32_SYSCALL_BIT of asm/unistd.h: it marks the calls of x32
// programs, which share AUDIT_ARCH_X86_64.
const X32Bit = 0x40000000

// Program is a filter as seccomp(2) accepts it.
type Program struct {
	Arch         syscalls.Arch // that it was compiled for, besides sub-architectures
	Instructions []unix.SockFilter
	Flags        uint32 // SECCOMP_FILTER_FLAG_* to install it with
	Listener     bool   // a listener decides some calls (SCMP_ACT_NOTIFY)
}

// Bytes returns the instructions as struct sock_filter (linux/filter.h) in the target's byte
// order, as seccomp(2) and bwrap --seccomp accept them.
func (p *Program) Bytes() []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, ByteOrder(p.Arch), p.Instructions) // a buffer takes everything
	return b.Bytes()
}

// C returns the program as a C array.
func (p *Program) C() string {
	var b strings.Builder
	fmt.Fprintf(&b, "/* %s, %d instructions; flags for seccomp(2): %#x */\n", p.Arch, len(p.Instructions), p.Flags)
	b.WriteString("#include <linux/filter.h>\n\nstatic struct sock_filter filter[] = {\n")
	for _, i := range p.Instructions {
		fmt.Fprintf(&b, "\t{ 0x%02x, %3d, %3d, 0x%08x },\n", i.Code, i.Jt, i.Jf, i.K)
	}
	b.WriteString("};\n")
	return b.String()
}

// ByteOrder returns the byte order of an architecture, in which libseccomp exports programs.
func ByteOrder(a syscalls.Arch) binary.ByteOrder {
	const auditArchLE = 0x40000000 // __AUDIT_ARCH_LE of linux/audit.h
	if a.Audit()&auditArchLE != 0 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

// Decode reads instructions, struct sock_filter of linux/filter.h: code, jt, jf, k.
func Decode(data []byte, order binary.ByteOrder) ([]unix.SockFilter, error) {
	const size = 8
	if len(data) == 0 || len(data)%size != 0 {
		return nil, fmt.Errorf("%d bytes are no program", len(data))
	}
	program := make([]unix.SockFilter, len(data)/size)
	for i := range program {
		insn := data[size*i:]
		program[i] = unix.SockFilter{Code: order.Uint16(insn), Jt: insn[2], Jf: insn[3], K: order.Uint32(insn[4:])}
	}
	return program, nil
}
