package launcher

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// initProcess is a container's PID 1. The descriptor stands for that process also
// after it has been waited for, when its PID may be another's (pidfd_open(2), Linux
// 5.3).
type initProcess struct {
	pid   int
	pidfd *os.File
}

// startedInit is the process that this one has started as init.
type startedInit interface {
	Pid() (int, error)
	Signal(sig os.Signal) error
	Wait() (*os.ProcessState, error)
}

// openInit opens a process that has not been waited for.
func openInit(process startedInit) (*initProcess, error) {
	pid, err := process.Pid()
	if err != nil {
		return nil, err
	}
	return openPID(pid)
}

func openPID(pid int) (*initProcess, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return &initProcess{pid, os.NewFile(uintptr(fd), "pidfd")}, nil
}

// signal sends a signal. It returns ESRCH when the process has been waited for.
func (p *initProcess) signal(sig unix.Signal) error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) { serr = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return unix.ESRCH // closed
	}
	return serr
}

// endsWithin waits for the process's end, and reports whether it came in time.
func (p *initProcess) endsWithin(limit time.Duration) bool {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return true
	}
	ended := true // also when it was closed
	_ = raw.Control(func(fd uintptr) {
		for deadline := time.Now().Add(limit); ; {
			left := max(time.Until(deadline), 0)
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
			if err != unix.EINTR {
				ended = n != 0
				return
			}
		}
	})
	return ended
}
