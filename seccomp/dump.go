package seccomp

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// DumpError is a process whose filters cannot be read.
type DumpError struct {
	PID int
	Err error
	Fix string
}

func (e *DumpError) Error() string { return fmt.Sprintf("process %d: %v", e.PID, e.Err) }
func (e *DumpError) Unwrap() error { return e.Err }

// Hint says what to do, or is empty.
func (e *DumpError) Hint() string { return e.Fix }

// Dump reads the filters of a live thread from the kernel, the latest first. A
// thread without any gives an empty list. The thread is stopped for the moment
// and goes on, whatever happens. An error is a [DumpError].
//
// It needs CAP_SYS_ADMIN, not to be filtered itself, and a kernel with
// CONFIG_CHECKPOINT_RESTORE (ptrace(2), PTRACE_SECCOMP_GET_FILTER, Linux 4.4).
func Dump(tid int) ([]*Program, error) {
	fail := func(err error) ([]*Program, error) {
		return nil, &DumpError{tid, err, dumpHint(err)}
	}
	arch, ok := syscalls.Host()
	if !ok {
		return fail(errors.New("this architecture has no system call table"))
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(tid)); err != nil || tid <= 0 {
		return fail(unix.ESRCH)
	}
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	if err := ptrace(unix.PTRACE_SEIZE, tid, 0, nil); err != nil {
		return fail(err)
	}
	if err := stop(tid); err != nil {
		return fail(err)
	}
	defer func() { _ = ptrace(unix.PTRACE_DETACH, tid, 0, nil) }() // it fails when the thread is gone: nothing is left to do
	var all []*Program
	for i := 0; ; i++ {
		insns, err := filterAt(tid, i)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) && i == 0 && !filtered(tid) {
			return all, nil
		}
		if err != nil {
			return fail(err)
		}
		all = append(all, &Program{Arch: arch, Instructions: insns})
	}
}

// stop waits until the seized thread has stopped.
func stop(tid int) error {
	if err := ptrace(unix.PTRACE_INTERRUPT, tid, 0, nil); err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(tid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err == nil && !status.Stopped() {
			return unix.ESRCH
		}
		return err
	}
}

func filterAt(tid, index int) ([]unix.SockFilter, error) {
	n, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(tid), uintptr(index), 0, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	insns := make([]unix.SockFilter, n)
	return insns, ptrace(unix.PTRACE_SECCOMP_GET_FILTER, tid, uintptr(index), unsafe.Pointer(unsafe.SliceData(insns)))
}

func ptrace(request, tid int, addr uintptr, data unsafe.Pointer) error {
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, uintptr(data), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// filtered reports whether /proc says that the thread has a filter.
func filtered(tid int) bool {
	var mode int
	data, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if n, _ := fmt.Sscanf(line, "Seccomp: %d", &mode); n == 1 {
			return mode == unix.SECCOMP_MODE_FILTER
		}
	}
	return false
}

func dumpHint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "reading filters needs root, and a process that nobody traces: try sudo"
	case errors.Is(err, unix.ESRCH):
		return "'ps -e' lists the processes"
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EINVAL):
		return "the kernel needs CONFIG_CHECKPOINT_RESTORE"
	}
	return ""
}
