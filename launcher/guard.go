package launcher

/*
#include "guard.h"
*/
import "C"

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guard is a process that kills another, a container's PID 1, when the launcher is gone,
// however it went. The parent-death signal alone does not: PID 1 can clear it
// (prctl(2)), and loses it by a change of credentials or by execve(2) of a program
// with capabilities. The guard is in none of the container's namespaces, so the
// container neither sees it nor can signal it, except with the host's PID namespace.
type guard struct{ pid int }

// startGuard makes the guard of a process: of an init that has not begun to run its
// command, or of a network's helper. It is a fork of the launcher that shares no memory
// with it: when the kernel's OOM killer chooses the launcher, the guard lives.
func startGuard(pidfd *os.File) (*guard, error) {
	launcher, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(launcher)
	g := &guard{}
	g.pid = int(C.guard_start(C.int(pidfd.Fd()), C.int(launcher), unsafe.Pointer(g)))
	if g.pid < 0 {
		return nil, os.NewSyscallError("fork", unix.Errno(-g.pid))
	}
	return g, nil
}

// stop ends the guard.
func (g *guard) stop() {
	_ = unix.Kill(g.pid, unix.SIGKILL) // a child that has not been waited for: the PID is its own
	for {
		if _, err := unix.Wait4(g.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
