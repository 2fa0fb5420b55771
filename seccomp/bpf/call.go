package bpf

import (
	"slices"

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

// NewCall names a call of an architecture. It is false when there is none.
func NewCall(a syscalls.Arch, name string, args ...uint64) (Call, bool) {
	nr, ok := syscalls.Number(a, name)
	c := Call{Nr: nr, Arch: a.Audit()}
	copy(c.Args[:], args)
	return c, ok
}

// Arches are the architectures that programs tell apart, theirs first. One
// whose number is compared with something else is there for nothing.
func Arches(programs ...*Program) []syscalls.Arch {
	var all []syscalls.Arch
	add := func(a syscalls.Arch) {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	for _, p := range programs {
		add(p.Arch)
		for _, insn := range p.Instructions {
			if a, ok := syscalls.FromAudit(insn.K, 0); ok && insn.Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K {
				add(a)
			}
		}
	}
	if slices.Contains(all, syscalls.AMD64) {
		add(syscalls.X32)
	}
	return all
}
