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

	"github.com/minirun/minirun/seccomp/bpf"
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

// Dump reads the filters of a live thread from the kernel, in the order in which
// they were installed (get_nth_filter of kernel/seccomp.c; ptrace(2) has it the
// other way round). A thread without any gives an empty list. The thread is
// stopped for the moment and goes on, whatever happens. An error is a [DumpError].
//
// It needs CAP_SYS_ADMIN, not to be filtered itself, and a kernel with
// CONFIG_CHECKPOINT_RESTORE (ptrace(2), PTRACE_SECCOMP_GET_FILTER, Linux 4.4).
func Dump(tid int) ([]*bpf.Program, error) {
	fail := func(err error) ([]*bpf.Program, error) {
		return nil, &DumpError{tid, err, dumpHint(err)}
	}
	arch, ok := syscalls.Host()
	if !ok {
		return fail(errors.New("this architecture has no system call table"))
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(tid)); err != nil || tid <= 0 {
		return fail(unix.ESRCH) // ptrace(2) would say EPERM to who is not root
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

// stop waits until the seized thread has stopped, and gives the signal that has
// stopped it, if one was on its way: the thread is to get it when it goes on.
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

// filtered reports whether /proc says that the thread has a filter.
func filtered(tid int) bool {
	mode, err := statusField(tid, "Seccomp")
	return err == nil && mode == strconv.Itoa(unix.SECCOMP_MODE_FILTER)
}

// BoundingSet is that of a live thread, by the names that profiles have.
// An error is a [DumpError].
func BoundingSet(tid int) ([]string, error) {
	text, err := statusField(tid, "CapBnd")
	if err != nil {
		return nil, &DumpError{tid, err, dumpHint(err)}
	}
	bits, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return nil, &DumpError{tid, err, ""}
	}
	var names []string
	for i, name := range capabilities() {
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
