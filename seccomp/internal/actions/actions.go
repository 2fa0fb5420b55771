// Package actions interprets the actions and conditions of the OCI runtime specification's
// flat list as Docker's runtime does.
package actions

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// MaxErrno is MAX_ERRNO of linux/err.h, the largest errno that a filter can return.
const MaxErrno = 4095

// Passes reports whether an action lets a call through. TRACE does: the tracer decides, and
// without one the call fails with ENOSYS as if it did not exist.
func Passes(action specs.LinuxSeccompAction) bool {
	return action == specs.ActAllow || action == specs.ActLog || action == specs.ActTrace
}

// Open reports whether an action does not deny calls itself: it lets them through or leaves
// them to an agent. An open default action also applies to calls newer than the profile.
func Open(action specs.LinuxSeccompAction) bool {
	return Passes(action) || action == specs.ActNotify
}

// ReturnValue returns the value that a filter returns for an action (seccomp(2)). Without an
// errno, ERRNO and TRACE have EPERM, as in Docker's runtime.
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

// Same reports whether filters return the same value for two actions.
func Same(a specs.LinuxSeccompAction, aErrno *uint, b specs.LinuxSeccompAction, bErrno *uint) bool {
	one, errOne := ReturnValue(a, aErrno)
	other, errOther := ReturnValue(b, bErrno)
	return errOne == nil && errOther == nil && one == other
}

// Alternatives divides the conditions of a rule as Docker's runtime does. The rule matches a
// call that meets all conditions of at least one alternative. There is one alternative with
// all conditions, unless two have the same index: then each is an alternative.
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
