package seccomp

import (
	"fmt"

	"github.com/minirun/minirun/seccomp/bpf"
)

// CheckLaunch reports whether a container can start under the program: it has to
// let execve(2) through, which is the only call that a start makes once the filter
// is there. An error is a [LaunchError], or a program that cannot be emulated.
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
	if !v.Passes() {
		return &LaunchError{v}
	}
	return nil
}

// LaunchError is a program under which no container starts.
type LaunchError struct{ Verdict bpf.Verdict } // on execve(2)

func (e *LaunchError) Error() string {
	return fmt.Sprintf("the profile denies execve (%s), so no command can be started", e.Verdict)
}

// Hint says what to do.
func (e *LaunchError) Hint() string {
	return "allow execve; 'minirun seccomp explain' shows the rule that decides"
}
