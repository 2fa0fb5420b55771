package compile

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
)

// CheckLaunch returns a [*LaunchError] if no container can start under a program because it
// denies execve(2). That is the only call that minirun makes after it has installed the
// filter. Another error means that the program cannot be emulated.
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
	if !v.Passes() && v.Action() != unix.SECCOMP_RET_USER_NOTIF { // the agent may let the call through
		return &LaunchError{v}
	}
	return nil
}

// LaunchError says that no container starts under a program.
type LaunchError struct{ Verdict bpf.Verdict } // on execve(2)

func (e *LaunchError) Error() string {
	return fmt.Sprintf("the profile denies execve (%s), so no command can be started", e.Verdict)
}
