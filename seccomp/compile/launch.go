package compile

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
)

// CheckLaunch reports whether a container can start under a program, which needs no
// call except execve(2): minirun makes that call next after it has installed the
// filter. The error is a [*LaunchError], or the program cannot be emulated.
func CheckLaunch(p *bpf.Program) error {
	e, err := p.Emulator()
	if err != nil {
		return err
	}
	call, ok := bpf.NewCall(p.Arch, "execve")
	if !ok {
		return fmt.Errorf("%s has no execve", p.Arch)
	}
	v, err := e.Run(call)
	if err != nil {
		return err
	}
	if !v.Passes() && v.Action() != unix.SECCOMP_RET_USER_NOTIF { // which its agent may let through
		return &LaunchError{v}
	}
	return nil
}

// LaunchError says that no container starts under a program.
type LaunchError struct{ Verdict bpf.Verdict } // on execve(2)

func (e *LaunchError) Error() string {
	return fmt.Sprintf("the profile denies execve (%s), so no command can be started", e.Verdict)
}
