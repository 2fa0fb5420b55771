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

// guard is a process that kills another one, such as a container's PID 1, when the launcher
// has ended in any way. The parent-death signal is not enough: PID 1 can clear it
// (prctl(2)), and loses it when it changes its credentials or executes a program with
// capabilities. The guard is in none of the container's namespaces, so the container can
// neither see nor signal it, except with the host's PID namespace.
type guard struct{ pid int }

// startGuard starts the guard of a process: of an init that does not run its command yet, or
// of a network helper. The guard is a fork that shares no memory with the launcher, so it
// lives when the kernel's OOM killer kills the launcher.
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
	_ = unix.Kill(g.pid, unix.SIGKILL) // the PID is not reused: nobody has waited for this child
	for {
		if _, err := unix.Wait4(g.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
