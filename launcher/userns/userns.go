// Package userns makes a user's process root of a user namespace, so that it can launch
// containers (user_namespaces(7)). Importing the package is what makes a program able to:
// a C constructor enters the namespace before the Go runtime starts.
package userns

/*
#include "enter.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// Settle waits until the IDs of a process that has entered a user namespace are mapped,
// which is done while the Go runtime starts. It must be called before anything else. After an
// error the process must end: it may be root of a namespace without groups.
func Settle() error {
	C.userns_settle()
	if C.entered.step == C.ENTER_MAP_UIDS || C.entered.step == C.ENTER_MAP_GIDS {
		return failure(Find())
	}
	return nil
}

// Rootless reports whether this process is a user's, and has become root of a user
// namespace ([Enter]).
func Rootless() bool { return C.entered.step == C.ENTER_DONE }

// Environ returns the variables by which another process of this program knows that it is
// started in the user namespace of this one.
func Environ() []string {
	if !Rootless() {
		return nil
	}
	return []string{C.ENTER_VARIABLE + "=same"}
}

// UID returns the ID of the user whose process this is, as the host numbers it.
func UID() int {
	if C.entered.step == C.ENTER_NOT_TRIED {
		return os.Geteuid()
	}
	return int(C.entered.uid)
}

// Enter makes the process of a user root of a new user namespace. In it the user is 0, and
// so are the user's files; subordinate IDs ([Find]) follow from 1 on, if the user has them.
// Enter does nothing for root, and for a process that has entered one already, as a process
// does from the beginning if its command line is plainly a launch (early.c).
//
// Enter starts the process's program again with the same arguments, and does not return
// unless it fails or there is nothing to do. So it is called before anything has been done
// or written. If the new program cannot enter, Enter returns the error there.
func Enter(ids IDs) error {
	if os.Geteuid() == 0 {
		return nil
	}
	if C.entered.step != C.ENTER_NOT_TRIED {
		return failure(ids)
	}
	env := append(os.Environ(), C.ENTER_VARIABLE+"=new")
	if ids.Missing == nil {
		env = append(env, C.UIDS_VARIABLE+"="+ids.UIDs.command(UID()), C.GIDS_VARIABLE+"="+ids.GIDs.command(os.Getegid()))
	}
	err := unix.Exec("/proc/self/exe", os.Args, env)
	return fmt.Errorf("make a user namespace: %w", os.NewSyscallError("execve", err))
}

// Join is Enter for the user namespace of another process of the user's.
func Join(pid int) error {
	if os.Geteuid() == 0 {
		return nil
	}
	const op = "join the container's user namespace: %w"
	if C.entered.step != C.ENTER_NOT_TRIED {
		return fmt.Errorf(op, syscall.Errno(C.entered.error))
	}
	err := unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), C.ENTER_VARIABLE+"="+strconv.Itoa(pid)))
	return fmt.Errorf(op, os.NewSyscallError("execve", err))
}

// failure returns why this process is not in a user namespace.
func failure(ids IDs) error {
	errno := syscall.Errno(C.entered.error)
	switch C.entered.step {
	case C.ENTER_UNSHARE:
		return unshareError(errno)
	case C.ENTER_CONFINED:
		const text = "make a user namespace: AppArmor gives no capabilities in it to a program without a profile"
		return hint.With(errors.New(text), "sudo install -m 644 /usr/share/minirun/minirun.apparmor /etc/apparmor.d/minirun && sudo apparmor_parser -r /etc/apparmor.d/minirun")
	case C.ENTER_MAP_UIDS:
		return mapError("map user ids", ids.UIDs, errno)
	case C.ENTER_MAP_GIDS:
		return mapError("map group ids", ids.GIDs, errno)
	}
	return fmt.Errorf("make a user namespace: %w", errno)
}

// unshareError says what keeps users from making user namespaces.
func unshareError(errno syscall.Errno) error {
	const op = "make a user namespace: "
	switch {
	case errno == unix.ENOSPC && parameter("user/max_user_namespaces") == "0":
		return hint.With(errors.New(op+"this machine allows none (user.max_user_namespaces is 0)"), "sudo sysctl user.max_user_namespaces=15000, or run it with sudo")
	case errno == unix.EPERM && parameter("kernel/unprivileged_userns_clone") == "0":
		return hint.With(errors.New(op+"closed to users other than root (kernel.unprivileged_userns_clone is 0)"), "sudo sysctl kernel.unprivileged_userns_clone=1, or run it with sudo")
	}
	return hint.With(fmt.Errorf(op+"%w", os.NewSyscallError("unshare", errno)), "run it with sudo")
}

// parameter returns the value of a kernel parameter, or "".
func parameter(name string) string {
	value, _ := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(value))
}

// mapError returns the error for IDs that were not mapped: the kernel's, or else what the
// tool wrote.
func mapError(op string, r Ranges, errno syscall.Errno) error {
	switch errno {
	case 0:
	case unix.ETIMEDOUT:
		return hint.With(fmt.Errorf("%s: %s has not ended after ten seconds", op, r.Tool), "run it by itself to see why; it may wait for the server that /etc/nsswitch.conf names for subid")
	default:
		return fmt.Errorf("%s: %w", op, errno)
	}
	said := said(r.tool())
	if said == "" {
		said = r.tool() + " says no more"
	}
	err := errors.New(op + ": " + said)
	if !r.trusted() {
		return hint.With(err, "it has lost its set-uid bit: sudo apt-get install --reinstall uidmap")
	}
	return hint.With(err, "see what /etc/subuid and /etc/subgid give you")
}

// said returns the first line that the tool wrote. If no line has its name, that is the
// first line of either tool.
func said(tool string) string {
	lines := strings.Split(strings.TrimSpace(C.GoString(&C.entered.said[0])), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, tool+":") {
			return line
		}
	}
	return lines[0]
}

// command returns the program that maps the ranges, and its arguments, a line each: own is
// 0, and the ranges follow.
func (r Ranges) command(own int) string {
	lines := []string{r.Tool, "0", strconv.Itoa(own), "1"}
	next := int64(1)
	for _, ids := range r.Ranges {
		lines = append(lines, strconv.FormatInt(next, 10), strconv.FormatInt(ids.First, 10), strconv.FormatInt(ids.Count, 10))
		next += ids.Count
	}
	return strings.Join(lines, "\n")
}
