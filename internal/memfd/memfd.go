// Package memfd makes sealed files in memory, as memfd_create(2) describes them.
package memfd

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long Seal waits for the kernel to let go of the file's pages.
const patience = 5 * time.Second

// Create returns an empty file in memory that can be sealed and, if executable is set, be
// executed also where the sysctl vm.memfd_noexec says otherwise by default (Linux 6.3).
func Create(name string, executable bool) (*os.File, error) {
	const flags, mfdExec = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING, 0x10
	fd, err := -1, error(unix.EINVAL)
	if executable {
		fd, err = unix.MemfdCreate(name, flags|mfdExec)
	}
	if errors.Is(err, unix.EINVAL) { // MFD_EXEC is unknown before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Seal makes a file of Create immutable for good. The kernel refuses that with EBUSY while
// it uses a page itself, as it does when it moves pages to make room; so Seal tries again.
func Seal(f *os.File) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
		}
	}
}
