package bpf

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// Call is a system call as a filter sees it: struct seccomp_data.
type Call struct {
	Nr   uint32 // with X32Bit for an x32 call
	Arch uint32 // AUDIT_ARCH_*
	IP   uint64
	Args [6]uint64
}

// NewCall returns a call of an architecture by its name. ok is false if the architecture does
// not have it.
func NewCall(a syscalls.Arch, name string, args ...uint64) (call Call, ok bool) {
	nr, ok := syscalls.Number(a, name)
	c := Call{Nr: nr, Arch: a.Audit()}
	copy(c.Args[:], args)
	return c, ok
}

// Arches returns the architectures that programs tell apart, starting with their own. It may
// return too many: each compared constant that is the AUDIT_ARCH of one counts.
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

// Compatible returns the other architectures whose calls a kernel accepts. A filter sees these
// calls too; one that does not check the architecture takes their numbers for its own.
func Compatible(kernel syscalls.Arch) []syscalls.Arch {
	switch kernel {
	case syscalls.AMD64:
		return []syscalls.Arch{syscalls.X86, syscalls.X32}
	case syscalls.ARM64:
		return []syscalls.Arch{syscalls.ARM}
	case syscalls.S390X:
		return []syscalls.Arch{syscalls.S390}
	case syscalls.PPC64:
		return []syscalls.Arch{syscalls.PPC}
	case syscalls.MIPS64:
		return []syscalls.Arch{syscalls.MIPS, syscalls.MIPS64N32}
	case syscalls.MIPSEL64:
		return []syscalls.Arch{syscalls.MIPSEL, syscalls.MIPSEL64N32}
	}
	return nil
}
