// Package launcher runs a container: options become an OCI runtime spec, the
// spec libcontainer's config, and that a process in namespaces of its own,
// under a seccomp filter that was compiled before it started.
package launcher

/*
#cgo LDFLAGS: -lpthread
#include "page.h"
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins the namespaces before the Go runtime starts
	"golang.org/x/sys/unix"
)

// IsInit reports whether this process was started by [Container.Run] to become
// a container's init. The argument alone does not say it: `minirun init` is a
// user's way to name an image.
func IsInit() bool {
	return C.page != nil
}

// A package's init runs on the main thread. main.main need not: the goroutine may
// have moved to another thread before it could lock itself to this one, where
// the launcher would look in vain for the parked init. Seen under emulation.
func init() { //nolint:gochecknoinits // nothing later than this will do
	if IsInit() {
		runtime.LockOSThread() // PR_SET_PDEATHSIG is per thread (prctl(2)), and so is the exec to come
	}
}

// Init sets up the container from inside and becomes its command. It does not
// return: when anything fails the process ends, and [Container.Run] reports why.
//
// The parent-death signal is set here, since libcontainer's own is lost in the
// double clone that enters the namespaces. Should the launcher have died before
// that, libcontainer finds its pipe closed and ends.
func Init() {
	// A collection would start threads, and clone(2) may be denied once the filter is armed.
	debug.SetGCPercent(-1)
	if err := restoreFileLimit(); err != nil {
		fatal("restore the limit on open files", err)
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		fatal("set the parent-death signal", err)
	}
	if errno := C.arm_start(); errno != 0 {
		fatal("start the arming thread", unix.Errno(errno))
	}
	libcontainer.Init()
}

// restoreFileLimit gives back the soft limit on open files that the Go runtime has
// raised, and makes it forget: it would else call prlimit(2) just before execve(2),
// under the filter. libcontainer sees to that only where --ulimit names the limit,
// which it sets again then.
func restoreFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = min(uint64(C.soft_nofile), limit.Max)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// fatal ends an init that cannot yet talk to its launcher: libcontainer copies
// its standard error nowhere else, so the terminal is the only place left.
func fatal(what string, err error) {
	fmt.Fprintf(os.Stderr, "minirun: container init: %s: %v\n", what, err)
	unix.Exit(255)
}
