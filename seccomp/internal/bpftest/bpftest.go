// Package bpftest has helpers for tests of filter programs: an interpreter that shares no code
// with the emulator, and random programs.
package bpftest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Interpret runs a program as linux/filter.h, seccomp(2) and bpf(4) define it, on struct
// seccomp_data as it is in the machine's memory. Tests compare [bpf.Emulator] with it.
func Interpret(t testing.TB, p *bpf.Program, c bpf.Call) bpf.Verdict {
	t.Helper()
	machine := bpf.ByteOrder(p.Arch)
	var memory bytes.Buffer
	if err := binary.Write(&memory, machine, c); err != nil || memory.Len() != 64 {
		t.Fatalf("struct seccomp_data has %d bytes (%v)", memory.Len(), err)
	}
	data := memory.Bytes()
	var a, x uint32
	var mem [16]uint32
	for pc := 0; pc < len(p.Instructions); pc++ {
		i := p.Instructions[pc]
		operand := i.K
		if i.Code&unix.BPF_X != 0 {
			operand = x
		}
		switch i.Code & 7 {
		case unix.BPF_LD, unix.BPF_LDX:
			var v uint32
			switch i.Code & 0xe0 {
			case unix.BPF_IMM:
				v = i.K
			case unix.BPF_ABS:
				v = machine.Uint32(data[i.K:])
			case unix.BPF_LEN:
				v = uint32(len(data))
			case unix.BPF_MEM:
				v = mem[i.K]
			default:
				t.Fatalf("instruction %d: load mode %#x", pc, i.Code)
			}
			if i.Code&7 == unix.BPF_LD {
				a = v
			} else {
				x = v
			}
		case unix.BPF_ST:
			mem[i.K] = a
		case unix.BPF_STX:
			mem[i.K] = x
		case unix.BPF_ALU:
			if i.Code&0xf0 == unix.BPF_DIV && operand == 0 {
				return 0 // the kernel ends a program that divides by zero so
			}
			a = compute(i.Code&0xf0, a, operand)
		case unix.BPF_JMP:
			switch {
			case i.Code&0xf0 == unix.BPF_JA:
				pc += int(i.K)
			case jumps(i.Code&0xf0, a, operand):
				pc += int(i.Jt)
			default:
				pc += int(i.Jf)
			}
		case unix.BPF_RET:
			if i.Code&0x18 == unix.BPF_A {
				return bpf.Verdict(a)
			}
			return bpf.Verdict(i.K)
		case unix.BPF_MISC:
			if i.Code&0xf8 == unix.BPF_TAX {
				x = a
			} else {
				a = x
			}
		}
	}
	t.Fatal("the program runs off its end")
	return 0
}

func compute(op uint16, a, b uint32) uint32 {
	switch op {
	case unix.BPF_ADD:
		return a + b
	case unix.BPF_SUB:
		return a - b
	case unix.BPF_MUL:
		return a * b
	case unix.BPF_DIV:
		return a / b
	case unix.BPF_AND:
		return a & b
	case unix.BPF_OR:
		return a | b
	case unix.BPF_XOR:
		return a ^ b
	case unix.BPF_LSH:
		return a << b
	case unix.BPF_RSH:
		return a >> b
	}
	panic("an operation that seccomp(2) does not take")
}

func jumps(op uint16, a, b uint32) bool {
	switch op {
	case unix.BPF_JEQ:
		return a == b
	case unix.BPF_JGT:
		return a > b
	case unix.BPF_JGE:
		return a >= b
	}
	return a&b != 0 // BPF_JSET
}

// RandomProgram returns a program that the kernel would accept: jumps stay within it, loads are
// aligned, and it ends with a return.
func RandomProgram(r *rand.Rand, arch syscalls.Arch) *bpf.Program {
	pick := func(from ...uint16) uint16 { return from[r.IntN(len(from))] }
	// Small numbers make comparisons go both ways.
	value := func() uint32 { return r.Uint32() >> (8 * r.IntN(4)) }
	length := 2 + r.IntN(60)
	p := &bpf.Program{Arch: arch}
	for at := range length - 1 {
		left := length - at - 1 // the instructions that a jump may skip, and one
		var i unix.SockFilter
		switch r.IntN(8) {
		case 0, 1:
			i = unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(4 * r.IntN(16))}
		case 2:
			i = unix.SockFilter{Code: pick(unix.BPF_LD, unix.BPF_LDX) | pick(unix.BPF_IMM, unix.BPF_MEM, unix.BPF_LEN), K: uint32(r.IntN(16))}
		case 3:
			i = unix.SockFilter{Code: pick(unix.BPF_ST, unix.BPF_STX), K: uint32(r.IntN(16))}
		case 4:
			i = unix.SockFilter{
				Code: unix.BPF_ALU | pick(unix.BPF_K, unix.BPF_X) | pick(unix.BPF_ADD, unix.BPF_SUB, unix.BPF_MUL, unix.BPF_DIV, unix.BPF_AND, unix.BPF_OR, unix.BPF_XOR),
				K:    value() | 1, // the kernel refuses a division by a constant 0
			}
			if r.IntN(3) == 0 {
				i = unix.SockFilter{Code: unix.BPF_ALU | pick(unix.BPF_LSH, unix.BPF_RSH), K: uint32(r.IntN(32))}
			}
		case 5, 6:
			i = unix.SockFilter{
				Code: unix.BPF_JMP | pick(unix.BPF_K, unix.BPF_X) | pick(unix.BPF_JEQ, unix.BPF_JGT, unix.BPF_JGE, unix.BPF_JSET),
				Jt:   uint8(r.IntN(left)), Jf: uint8(r.IntN(left)), K: value(),
			}
			if r.IntN(8) == 0 {
				i = unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(r.IntN(left))}
			}
		case 7:
			i = unix.SockFilter{Code: unix.BPF_MISC | pick(unix.BPF_TAX, unix.BPF_TXA)}
			if r.IntN(4) == 0 {
				i = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value()}
			}
		}
		p.Instructions = append(p.Instructions, i)
	}
	p.Instructions = append(p.Instructions, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_A})
	return p
}

// RandomCall returns a call, often with small numbers, so that comparisons go both ways.
func RandomCall(r *rand.Rand, arch uint32) bpf.Call {
	value := func() uint64 { return r.Uint64() >> (8 * r.IntN(8)) }
	c := bpf.Call{Nr: r.Uint32N(512), Arch: arch, IP: value()}
	if r.IntN(8) == 0 {
		c.Nr, c.Arch = r.Uint32(), r.Uint32()
	}
	for i := range c.Args {
		c.Args[i] = value()
	}
	return c
}
