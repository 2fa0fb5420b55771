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

// NewCall returns a call of an architecture by its name. ok is false when the architecture
// does not have it.
func NewCall(a syscalls.Arch, name string, args ...uint64) (call Call, ok bool) {
	nr, ok := syscalls.Number(a, name)
	c := Call{Nr: nr, Arch: a.Audit()}
	copy(c.Args[:], args)
	return c, ok
}

// Arches returns the architectures that programs tell apart, beginning with their
// own. There may be more: any constant that is the number of one counts.
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

// Compatible returns the architectures whose calls a kernel takes from processes of
// another kind, so that a filter sees them too: a filter that does not look at the
// architecture mistakes their numbers.
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
