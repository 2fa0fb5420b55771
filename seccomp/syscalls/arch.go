// Package syscalls has tables of Linux' system calls: their numbers on every architecture
// that Docker's profiles name, groups of calls, and the types and constants of arguments.
//
// The tables are those of Linux 7.2, which contain all of 6.18, and for the 31-bit programs
// of s390 those of Linux 6.1 with the later calls of s390x; see gen. A newer kernel may have
// calls that no table has. Nothing here needs a privilege, and all functions may be called
// concurrently.
//
// The API is not stable before version 1.
package syscalls

import "runtime"

// Arch is an architecture as seccomp filters distinguish them. Its value is an AUDIT_ARCH_
// value; x32, which shares that of x86_64, has another one.
type Arch uint32

// The architectures, by their AUDIT_ARCH_ values (linux/audit.h).
const (
	AMD64       Arch = 0xc000003e
	X86         Arch = 0x40000003
	X32         Arch = 0x4000003e // not an AUDIT_ARCH_ value: see Audit
	ARM64       Arch = 0xc00000b7
	ARM         Arch = 0x40000028
	LOONGARCH64 Arch = 0xc0000102
	MIPS        Arch = 0x00000008
	MIPS64      Arch = 0x80000008
	MIPS64N32   Arch = 0xa0000008
	MIPSEL      Arch = 0x40000008
	MIPSEL64    Arch = 0xc0000008
	MIPSEL64N32 Arch = 0xe0000008
	PPC         Arch = 0x00000014
	PPC64       Arch = 0x80000015
	PPC64LE     Arch = 0xc0000015
	RISCV64     Arch = 0xc00000f3
	S390        Arch = 0x00000016
	S390X       Arch = 0x80000016
)

//go:generate go run ./gen -linux $LINUX -s390 $LINUX_S390

// entry is a call of an architecture: an index into names, and its number.
type entry struct {
	name   uint16
	number uint32
}

// arches lists the architectures with their names in the OCI runtime specification, and in
// includes.arches and libseccomp.
var arches = [...]struct {
	arch      Arch
	oci, name string
	table     []entry
}{
	{AMD64, "SCMP_ARCH_X86_64", "amd64", tableAMD64[:]},
	{X86, "SCMP_ARCH_X86", "x86", tableX86[:]},
	{X32, "SCMP_ARCH_X32", "x32", tableX32[:]},
	{ARM64, "SCMP_ARCH_AARCH64", "arm64", tableARM64[:]},
	{ARM, "SCMP_ARCH_ARM", "arm", tableARM[:]},
	{LOONGARCH64, "SCMP_ARCH_LOONGARCH64", "loongarch64", tableLOONGARCH64[:]},
	{MIPS, "SCMP_ARCH_MIPS", "mips", tableMIPS[:]},
	{MIPS64, "SCMP_ARCH_MIPS64", "mips64", tableMIPS64[:]},
	{MIPS64N32, "SCMP_ARCH_MIPS64N32", "mips64n32", tableMIPS64N32[:]},
	{MIPSEL, "SCMP_ARCH_MIPSEL", "mipsel", tableMIPS[:]},
	{MIPSEL64, "SCMP_ARCH_MIPSEL64", "mipsel64", tableMIPS64[:]},
	{MIPSEL64N32, "SCMP_ARCH_MIPSEL64N32", "mipsel64n32", tableMIPS64N32[:]},
	{PPC, "SCMP_ARCH_PPC", "ppc", tablePPC[:]},
	{PPC64, "SCMP_ARCH_PPC64", "ppc64", tablePPC64[:]},
	{PPC64LE, "SCMP_ARCH_PPC64LE", "ppc64le", tablePPC64[:]},
	{RISCV64, "SCMP_ARCH_RISCV64", "riscv64", tableRISCV64[:]},
	{S390, "SCMP_ARCH_S390", "s390", tableS390[:]},
	{S390X, "SCMP_ARCH_S390X", "s390x", tableS390X[:]},
}

// Arches returns all architectures, always in the same order.
func Arches() []Arch {
	all := make([]Arch, len(arches))
	for i := range arches {
		all[i] = arches[i].arch
	}
	return all
}

// Host returns the architecture that this program was compiled for, which is usually that of
// the running kernel.
func Host() (Arch, bool) { return ParseArch(runtime.GOARCH) }

// ParseArch returns the architecture with a name of the OCI runtime specification
// (SCMP_ARCH_X86_64), of Docker's profiles and libseccomp (amd64), of Go (386) or of uname(1)
// (x86_64).
func ParseArch(name string) (Arch, bool) {
	switch name {
	case "x86_64":
		return AMD64, true
	case "386", "i386", "i686":
		return X86, true
	case "aarch64":
		return ARM64, true
	case "loong64":
		return LOONGARCH64, true
	case "mips64le":
		return MIPSEL64, true
	case "mipsle":
		return MIPSEL, true
	case "mips3l64n32":
		return MIPSEL64N32, true
	}
	for i := range arches {
		if arches[i].oci == name || arches[i].name == name {
			return arches[i].arch, true
		}
	}
	return 0, false
}

func (a Arch) index() int {
	for i := range arches {
		if arches[i].arch == a {
			return i
		}
	}
	return -1
}

// OCI returns the name in the OCI runtime specification, such as SCMP_ARCH_X86_64.
func (a Arch) OCI() string {
	if i := a.index(); i >= 0 {
		return arches[i].oci
	}
	return ""
}

// String returns the name in Docker's profiles and libseccomp, such as amd64.
func (a Arch) String() string {
	if i := a.index(); i >= 0 {
		return arches[i].name
	}
	return "unknown"
}

// Audit returns the AUDIT_ARCH_ value that a filter sees. x32 has that of x86_64; a bit of
// the number tells its calls apart.
func (a Arch) Audit() uint32 {
	if a == X32 {
		return uint32(AMD64)
	}
	return uint32(a)
}

// FromAudit returns the architecture of a call by the fields that a filter sees.
func FromAudit(audit, number uint32) (Arch, bool) {
	if audit == uint32(AMD64) && number&0x40000000 != 0 {
		return X32, true
	}
	a := Arch(audit)
	return a, a != X32 && a.index() >= 0
}
