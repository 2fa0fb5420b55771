// Package actions says what the actions and conditions of the OCI runtime
// specification's flat list mean to a filter.
package actions

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// MaxErrno is MAX_ERRNO of linux/err.h; seccomp(2) caps what is above.
const MaxErrno = 4095

// Passes reports whether an action lets a call through. TRACE counts: the tracer
// decides, and without one the call fails with ENOSYS as if it did not exist.
func Passes(action specs.LinuxSeccompAction) bool {
	return action == specs.ActAllow || action == specs.ActLog || action == specs.ActTrace
}

// Open reports whether an action itself denies no call: it lets calls through, or leaves
// them to an agent. As a default it is also for calls that are newer than the profile.
func Open(action specs.LinuxSeccompAction) bool {
	return Passes(action) || action == specs.ActNotify
}

// ReturnValue returns an action as a filter returns it (seccomp(2)). Without an
// errno ERRNO and TRACE have EPERM, as in Docker's runtime.
func ReturnValue(action specs.LinuxSeccompAction, errnoRet *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errnoRet != nil {
		data = uint32(*errnoRet)
	}
	data &= unix.SECCOMP_RET_DATA
	switch action {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	}
	return 0, fmt.Errorf("unknown action %q", action)
}

// Same reports whether a filter returns the same for two actions.
func Same(a specs.LinuxSeccompAction, aErrno *uint, b specs.LinuxSeccompAction, bErrno *uint) bool {
	one, errOne := ReturnValue(a, aErrno)
	other, errOther := ReturnValue(b, bErrno)
	return errOne == nil && errOther == nil && one == other
}

// Alternatives divides the conditions of a rule as Docker's runtime does: the rule
// matches a call that meets all conditions of one of them. It is one conjunction,
// unless two conditions have the same index; then each condition stands alone.
func Alternatives(args []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
	var seen [6]bool
	for _, a := range args {
		if a.Index < 6 && seen[a.Index] {
			each := make([][]specs.LinuxSeccompArg, len(args))
			for i := range args {
				each[i] = args[i : i+1]
			}
			return each
		}
		if a.Index < 6 {
			seen[a.Index] = true
		}
	}
	return [][]specs.LinuxSeccompArg{args}
}
