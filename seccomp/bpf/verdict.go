package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Verdict is what a filter returns: SECCOMP_RET_* and, in the lower 16 bits, data.
type Verdict uint32

// Action returns the verdict without its data.
func (v Verdict) Action() uint32 { return uint32(v) & unix.SECCOMP_RET_ACTION_FULL }

// Data returns the lower 16 bits: the errno of SECCOMP_RET_ERRNO, else a value for the
// tracer or the signal handler.
func (v Verdict) Data() uint32 { return uint32(v) & unix.SECCOMP_RET_DATA }

// Effect returns the verdict without the parts that the kernel ignores (__seccomp_filter of
// kernel/seccomp.c). Verdicts with equal Effects do the same.
func (v Verdict) Effect() Verdict {
	switch v.Action() {
	case unix.SECCOMP_RET_TRAP, unix.SECCOMP_RET_TRACE:
		return v
	case unix.SECCOMP_RET_ERRNO:
		const maxErrno = 4095 // MAX_ERRNO of linux/err.h
		return unix.SECCOMP_RET_ERRNO | Verdict(min(v.Data(), maxErrno))
	case unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_ALLOW:
		return Verdict(v.Action())
	}
	return unix.SECCOMP_RET_KILL_PROCESS // also for unknown actions
}

// String returns the verdict as text: ALLOW, ERRNO(EPERM), KILL_PROCESS, ...
func (v Verdict) String() string {
	switch v.Action() {
	case unix.SECCOMP_RET_KILL_PROCESS:
		return "KILL_PROCESS"
	case unix.SECCOMP_RET_KILL_THREAD:
		return "KILL_THREAD"
	case unix.SECCOMP_RET_TRAP:
		return "TRAP"
	case unix.SECCOMP_RET_ERRNO:
		if name := unix.ErrnoName(unix.Errno(v.Data())); name != "" {
			return "ERRNO(" + name + ")"
		}
		return fmt.Sprintf("ERRNO(%d)", v.Data())
	case unix.SECCOMP_RET_USER_NOTIF:
		return "NOTIFY"
	case unix.SECCOMP_RET_TRACE:
		return fmt.Sprintf("TRACE(%d)", v.Data())
	case unix.SECCOMP_RET_LOG:
		return "LOG"
	case unix.SECCOMP_RET_ALLOW:
		return "ALLOW"
	}
	return fmt.Sprintf("%#x", uint32(v)) // the kernel kills the process
}

// Passes reports whether the verdict lets the call through, without a listener or tracer.
func (v Verdict) Passes() bool {
	return v.Action() == unix.SECCOMP_RET_ALLOW || v.Action() == unix.SECCOMP_RET_LOG
}
