// Package trace runs BPF programs on the kernel's tracepoints and functions, to watch what
// a container's processes do. It is the part of tracing that knows nothing of what is
// watched:
//
//   - [NewScope] selects the processes of a container, which need not run yet.
//   - [NewMap] and [NewRing] are where programs keep and send what they find.
//   - [RawTracepoint] and [FunctionExit] load a program, written with cilium/ebpf/asm, and
//     attach it. Its first instructions are those of [Scope.Enter].
//   - [Regs] are the registers of a caller, which [LoadRegs] copies for a program.
//
// Nothing is pinned: maps, programs and their attachments end with the process that made
// them, however it ends. While a program is attached each call of every process of the
// machine takes some 0.1 µs longer (Linux 6.18), so it is attached for a container that asks
// for it, and only then.
//
// Tracing needs amd64, Linux 5.11, CAP_BPF and CAP_PERFMON in the first user namespace (root
// has them), and a kernel that is not locked down for confidentiality
// (kernel_lockdown(7)). [Supported] tries it.
//
// The kernel lets only programs with a GPL-compatible licence read its memory. The BPF
// programs that minirun assembles can be used under the GPL version 2, too.
package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// bpf is bpf(2).
func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		fd, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR, unix.EAGAIN: // the verifier was interrupted (Linux 5.0)
		default:
			return -1, errno
		}
	}
}

// name is a BPF object's name: bpftool(8) shows it.
func name(text string) (n [unix.BPF_OBJ_NAME_LEN]byte) {
	copy(n[:len(n)-1], text)
	return n
}

// Link is an attached program. It is detached by Close, or when the process ends.
type Link struct{ fd int }

// Close detaches the program.
func (l *Link) Close() error { return unix.Close(l.fd) }

// RawTracepoint attaches a program to a tracepoint of the kernel. R1 points to the values
// that the tracepoint passes to its probes (TP_PROTO in the kernel's include/trace/events),
// 64 bits each. The error is [unix.ENOENT] if the kernel has no such tracepoint.
func RawTracepoint(tracepoint string, program asm.Instructions) (*Link, error) {
	l, err := attach(tracepoint, loadAttr{kind: unix.BPF_PROG_TYPE_RAW_TRACEPOINT, name: name(tracepoint)}, program)
	if err != nil {
		return nil, fmt.Errorf("attach to the tracepoint %s: %w", tracepoint, err)
	}
	return l, nil
}

// FunctionExit attaches a program to the return of a function of the kernel. R1 points to
// the function's arguments and, after them, what it returns, 64 bits each. It needs the
// kernel's type information (CONFIG_DEBUG_INFO_BTF) and trampolines (Linux 5.5).
func FunctionExit(function string, program asm.Instructions) (*Link, error) {
	types, err := KernelTypes(function)
	if err != nil {
		return nil, fmt.Errorf("attach to the function %s: %w", function, err)
	}
	return types.FunctionExit(function, program)
}

// FunctionExit is [FunctionExit] for a function that has been looked up.
func (t Types) FunctionExit(function string, program asm.Instructions) (*Link, error) {
	id, err := t.find(function)
	if err != nil {
		return nil, fmt.Errorf("attach to the function %w", err)
	}
	l, err := attach("", loadAttr{kind: unix.BPF_PROG_TYPE_TRACING, attachType: unix.BPF_TRACE_FEXIT, attachID: id, name: name(function)}, program)
	if err != nil {
		return nil, fmt.Errorf("attach to the function %s: %w", function, err)
	}
	return l, nil
}

// The members of union bpf_attr (linux/bpf.h) for BPF_PROG_LOAD.
type loadAttr struct {
	kind       uint32
	count      uint32
	program    unsafe.Pointer
	license    unsafe.Pointer
	logLevel   uint32
	logSize    uint32
	log        unsafe.Pointer
	_          [2]uint32
	name       [unix.BPF_OBJ_NAME_LEN]byte
	_          uint32
	attachType uint32
	_          [9]uint32
	attachID   uint32
	_          [2]uint32
}

// And for BPF_RAW_TRACEPOINT_OPEN.
type attachAttr struct {
	tracepoint unsafe.Pointer
	program    uint32
	_          uint32
}

// attach loads a program and attaches it: to a tracepoint, or without one to what it was
// loaded for.
func attach(tracepoint string, attr loadAttr, program asm.Instructions) (*Link, error) {
	if runtime.GOARCH != "amd64" { // Regs are amd64's
		return nil, errors.ErrUnsupported
	}
	fd, err := load(attr, program)
	if err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	defer unix.Close(fd)
	open := attachAttr{program: uint32(fd)}
	if tracepoint != "" {
		text := append([]byte(tracepoint), 0)
		open.tracepoint = unsafe.Pointer(&text[0])
	}
	link, err := bpf(unix.BPF_RAW_TRACEPOINT_OPEN, unsafe.Pointer(&open), unsafe.Sizeof(open))
	if err != nil {
		return nil, err
	}
	return &Link{link}, nil
}

func load(attr loadAttr, program asm.Instructions) (int, error) {
	var code bytes.Buffer
	if err := program.Marshal(&code, binary.LittleEndian); err != nil {
		return -1, err
	}
	license := []byte("GPL\x00")
	attr.license, attr.program, attr.count = unsafe.Pointer(&license[0]), unsafe.Pointer(&code.Bytes()[0]), uint32(code.Len()/asm.InstructionSize)
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINVAL) {
		return fd, err
	}
	log := make([]byte, 1<<16) // the verifier refuses the program: once more, to hear why
	attr.log, attr.logSize, attr.logLevel = unsafe.Pointer(&log[0]), uint32(len(log)), 1
	fd, err = bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err == nil {
		return fd, nil
	}
	text, _, _ := bytes.Cut(log, []byte{0})
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return -1, fmt.Errorf("%w (%s)", err, lines[max(len(lines)-2, 0)]) // the last has statistics
}

// Supported returns nil if this process can attach programs that read the kernel's memory to
// tracepoints, else why not. A kernel that is locked down for confidentiality has no such read.
// Nothing is attached, which would interrupt all processors: the kernel looks for the tracepoint
// when all else is checked (bpf_raw_tp_link_attach in kernel/bpf/syscall.c).
func Supported() error {
	link, err := RawTracepoint("minirun_none", append(readKernel(-8, 8, asm.R1), asm.Mov.Imm(asm.R0, 0), asm.Return()))
	if err == nil {
		return link.Close()
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
