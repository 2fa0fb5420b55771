package seccomp

import (
	"fmt"
	"strings"

	"github.com/minirun/minirun/seccomp/bpf"
	"golang.org/x/sys/unix"
)

// launchSet lists what a container's init calls between the moment that the
// filter is there and execve(2): libcontainer's last steps and the Go runtime's
// own threads. A denial of any of them would end the start, or worse, let it
// hang. An integration test measures it: under a filter that kills for all else
// containers start.
var launchSet = [...]string{
	"close", "epoll_pwait", "execve", "fcntl", "fstat", "fstatfs", "futex", "getdents64", "getpid", "mmap",
	"nanosleep", "openat", "openat2", "rt_sigreturn", "sched_yield", "statx", "tgkill", "write",
}

// tolerated reports whether the caller of a call of the launch set has another
// way when it gets such a verdict.
func tolerated(name string, v bpf.Verdict) bool {
	switch name {
	case "openat2":
		return v == bpf.Verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS))
	case "sched_yield":
		return v.Action() == unix.SECCOMP_RET_ERRNO
	}
	return false
}

// CheckLaunch reports the calls of a start itself that the program does not
// let through. What a start does earlier, such as mounting and changing the
// user, the profile need not allow.
func CheckLaunch(p *bpf.Program) error {
	e, err := p.Emulator()
	if err != nil {
		return err
	}
	var denied []string
	for _, name := range launchSet {
		call, ok := bpf.NewCall(p.Arch, name)
		if !ok {
			continue
		}
		v, err := e.Run(call)
		if err != nil {
			return err
		}
		if !v.Passes() && !tolerated(name, v) {
			denied = append(denied, fmt.Sprintf("%s (%s)", name, v))
		}
	}
	if denied == nil {
		return nil
	}
	return &LaunchError{denied}
}

// LaunchError names the calls that a start needs and the profile denies.
type LaunchError struct{ Denied []string }

func (e *LaunchError) Error() string {
	return "the profile denies what a start itself needs: " + strings.Join(e.Denied, ", ")
}

// Hint says what to do.
func (e *LaunchError) Hint() string {
	return "allow these calls; 'minirun seccomp explain' shows the rules that decide"
}
