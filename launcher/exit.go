package launcher

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/minirun/minirun/internal/hint"
)

// Exit statuses of `docker run`.
const (
	// StatusError means that minirun itself failed.
	StatusError = 125
	// StatusNotExecutable means that the command cannot be invoked.
	StatusNotExecutable = 126
	// StatusNotFound means that the command was not found.
	StatusNotFound = 127
)

// Error says why a container did not start. Its text is `OP: WHY`.
type Error struct {
	Op    string // what was to be done, or the flag of `docker run` that asked for it
	Err   error  // why it was not
	Code  int    // exit status; 0 means StatusError
	Cause Cause  // what went wrong, where a hint would have to name flags or verbs, else 0
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ExitCode returns the status that minirun exits with.
func (e *Error) ExitCode() int {
	if e.Code == 0 {
		return StatusError
	}
	return e.Code
}

// asError returns err as an [Error]. op is its Op, unless err is one already.
func asError(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Op: op, Err: err}
}

// startError returns the error of a failed start by libcontainer, with its exit status.
// libcontainer's init looks the command up inside the container, as its user and through
// its mounts. Its error comes over a pipe as text, in which os/exec says
// `exec: "COMMAND": WHY`, so the status has to be found in that text.
func startError(command string, err error) error {
	text := err.Error()
	// os/exec quotes with strconv.Quote. libcontainer's init gets the command as JSON, in
	// which every byte that is not UTF-8 has become U+FFFD.
	_, why, found := strings.Cut(text, "exec: "+strconv.Quote(string([]rune(command)))+": ")
	if !found {
		return stepError(trimmedError(text).Error())
	}
	why = strings.TrimPrefix(why, "stat "+command+": ")
	switch {
	case strings.Contains(why, "not found in $PATH"):
		return notInPath(command)
	case strings.Contains(why, "no such file or directory"):
		return notFound(command, trimmedError(why))
	}
	return &Error{Op: "run " + command, Err: trimmedError(why), Code: StatusNotExecutable}
}

func notInPath(command string) error {
	e := &Error{Op: "run " + command, Err: errors.New("executable file not found in $PATH"), Code: StatusNotFound}
	return hint.With(e, "no such command in the image's PATH; 'ls' or an absolute path helps to find it")
}

func notFound(command string, why error) error {
	return hint.With(&Error{Op: "run " + command, Err: why, Code: StatusNotFound}, insideHelp)
}

const insideHelp = "the path is looked up inside the container"

// trimmedError is an error text of libcontainer. Its Error leaves out the preambles, which
// name internal steps rather than the cause.
type trimmedError string

func (e trimmedError) Error() string {
	text := string(e)
	for _, preamble := range []string{"unable to start container process: ", "error during container init: "} {
		text = strings.Replace(text, preamble, "", 1)
	}
	return text
}

// exitStatus returns the status of an ended process as a shell and `docker run` do: its own,
// or 128+n if signal n ended it.
func exitStatus(state *os.ProcessState) int {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
