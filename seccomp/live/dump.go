// Package live reads from the kernel which seccomp filters a process has.
//
// It is the privileged part of seccomp: each function says what it needs. The result
// describes one moment: a process may install more filters or end. Calls for different
// threads may run at the same time.
//
// The API is not stable before version 1.
package live

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Error says why a process cannot be read.
type Error struct {
	PID int
	Err error  // often an errno: ESRCH when there is no such process, EPERM without the privileges
	Fix string // what to do, or ""
}

func (e *Error) Error() string { return fmt.Sprintf("process %d: %v", e.PID, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Filters returns the filters of a thread in the order in which they were installed
// (get_nth_filter of kernel/seccomp.c; ptrace(2) documents the reverse order). For a
// thread without filters the list is empty. The kernel does not give the flags and
// listeners of a filter. The error is an [*Error].
//
// The thread is stopped for a moment and continues, even when there is an error.
//
// It needs CAP_SYS_ADMIN, a caller without a filter of its own, a thread that nobody
// traces, and a kernel with CONFIG_CHECKPOINT_RESTORE (ptrace(2),
// PTRACE_SECCOMP_GET_FILTER, Linux 4.4).
func Filters(tid int) ([]*bpf.Program, error) {
	fail := func(err error) ([]*bpf.Program, error) {
		return nil, &Error{tid, err, fix(err)}
	}
	arch, ok := syscalls.Host()
	if !ok {
		return fail(errors.New("this architecture has no system call table"))
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(tid)); err != nil || tid <= 0 {
		return fail(unix.ESRCH) // ptrace(2) says EPERM to who is not root
	}
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	if err := ptrace(unix.PTRACE_SEIZE, tid, 0, nil); err != nil {
		return fail(err)
	}
	signal, err := stop(tid)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = detach(tid, signal) }() // it fails when the thread is gone: nothing is left to do
	var all []*bpf.Program
	for i := 0; ; i++ {
		insns, err := filterAt(tid, i)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) && i == 0 && !filtered(tid) {
			return all, nil
		}
		if err != nil {
			return fail(err)
		}
		all = append(all, &bpf.Program{Arch: arch, Instructions: insns})
	}
}

// stop waits until the seized thread has stopped. It returns the signal that stopped
// it, if one was pending: the thread must get it when it continues.
func stop(tid int) (unix.Signal, error) {
	const ptraceEventStop = 128 // PTRACE_EVENT_STOP of linux/ptrace.h: the stop that was asked for
	if err := ptrace(unix.PTRACE_INTERRUPT, tid, 0, nil); err != nil {
		return 0, err
	}
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(tid, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case !status.Stopped():
			return 0, unix.ESRCH
		case status>>16 == ptraceEventStop:
			return 0, nil
		}
		return status.StopSignal(), nil
	}
}

func detach(tid int, signal unix.Signal) error {
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(tid), 0, uintptr(signal), 0, 0); errno != 0 {
		return errno
	}
	return nil
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

// filtered reports whether the thread has a filter, as /proc says.
func filtered(tid int) bool {
	mode, err := statusField(tid, "Seccomp")
	return err == nil && mode == strconv.Itoa(unix.SECCOMP_MODE_FILTER)
}

// BoundingSet returns the capabilities in the bounding set of a thread (proc(5),
// CapBnd), by their CAP_ names. It needs no privileges unless /proc hides the process.
// The error is an [*Error].
func BoundingSet(tid int) ([]string, error) {
	text, err := statusField(tid, "CapBnd")
	if err != nil {
		return nil, &Error{tid, err, fix(err)}
	}
	bits, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return nil, &Error{tid, err, ""}
	}
	var names []string
	for i, name := range capname.All() {
		if bits&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names, nil
}

// statusField reads a line of /proc/TID/status.
func statusField(tid int, name string) (string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if errors.Is(err, os.ErrNotExist) {
		return "", unix.ESRCH
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("/proc/%d/status has no %s", tid, name)
}

func fix(err error) string {
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
