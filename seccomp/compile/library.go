package compile

import (
	"fmt"

	libseccomp "github.com/seccomp/libseccomp-golang"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// LibraryVersion returns the version of the libseccomp in use, such as 2.5.4.
func LibraryVersion() string {
	major, minor, micro := libseccomp.GetLibraryVersion()
	return fmt.Sprintf("%d.%d.%d", major, minor, micro)
}

// Knows reports whether the libseccomp in use knows a system call of any
// architecture by its name.
func Knows(name string) bool {
	_, err := libseccomp.GetSyscallFromName(name)
	return err == nil
}

// LargestNumber returns the largest number that some system calls have on an architecture,
// according to the libseccomp in use. A program whose list names exactly these calls returns
// ENOSYS for calls with larger numbers; see the package's documentation. ok is false if
// libseccomp does not support the architecture, or knows none of the calls there.
func LargestNumber(arch syscalls.Arch, names []string) (number uint32, ok bool) {
	a, err := scmpArch(arch.OCI())
	if err != nil {
		return 0, false
	}
	largest := largestNumber(a, names)
	return uint32(max(largest, 0)), largest > 0
}

// largestNumber returns 0 if libseccomp has no number for any of the names. It has negative
// numbers for calls that an architecture does not have.
func largestNumber(arch libseccomp.ScmpArch, names []string) libseccomp.ScmpSyscall {
	var largest libseccomp.ScmpSyscall
	for _, name := range names {
		if nr, err := libseccomp.GetSyscallFromNameByArch(name, arch); err == nil {
			largest = max(largest, nr)
		}
	}
	return largest
}
