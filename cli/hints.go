package cli

import (
	"errors"
	"os"
	"syscall"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/live"
)

// hintOf returns what the user can do about an error, or "": the hint that it has, or
// the words for what a package found, which knows neither flags nor verbs.
func hintOf(err error) string {
	var usage *usageError
	var hinter interface{ Hint() string }
	if text := hint.Text(err); text != "" {
		return text
	}
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.As(err, &hinter) && hinter.Hint() != "":
		return hinter.Hint()
	}
	return seccompHint(err)
}

// seccompHint returns the hint for an error of the packages of seccomp, or "".
func seccompHint(err error) string {
	var problems seccomp.Problems
	var problem *seccomp.Problem
	var edit *seccomp.EditError
	var call *analyze.CallError
	var intricate *bpf.IntricateError
	var process *live.Error
	switch {
	case errors.As(err, &problems) && len(problems) == 1:
		return problemHint(problems[0].Fix, problems[0].Cause)
	case errors.As(err, &problem):
		return problemHint(problem.Fix, problem.Cause)
	case errors.As(err, &edit):
		return edit.Fix
	case errors.As(err, &call):
		return call.Fix
	case errors.As(err, &intricate):
		return "read it: 'minirun seccomp dump PID' prints the filters of a process, 'seccomp show' what a profile gives"
	case errors.As(err, &process):
		return process.Fix
	}
	return ""
}

// problemHint returns the hint for a problem of a profile.
func problemHint(fix string, cause seccomp.Cause) string {
	switch cause {
	case seccomp.CauseEmpty:
		return "start from 'minirun seccomp edit'"
	case seccomp.CauseEmptyObject:
		return "Docker takes {} as no filter at all; say --seccomp unconfined if that is what you want"
	case seccomp.CauseNoFilter:
		return "say --seccomp unconfined if that is what you want"
	case seccomp.CauseDockerKey:
		return "'minirun seccomp show' makes a flat list of a profile of Docker's"
	}
	return fix
}

// errnoHint returns a hint for the errors of system calls that can occur anywhere
// and depend on the state of the machine.
func errnoHint(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT:
		return "the disk is full: 'minirun rmi' frees space, --root DIR keeps images and containers elsewhere"
	case syscall.EROFS:
		return "the file system is read-only: --root DIR and --run-root DIR keep images and containers elsewhere"
	case syscall.EMFILE, syscall.ENFILE:
		return "raise the limit on open files: ulimit -n 1024"
	case syscall.EACCES, syscall.EPERM:
		if os.Geteuid() != 0 {
			return "run it with sudo"
		}
	case syscall.ENOMEM:
		return "free some memory"
	case syscall.EAGAIN:
		return "raise the limit on processes (ulimit -u), or end some"
	}
	return ""
}
