package rootfs

import "errors"

// ErrNotFound says that an image is in none of the places that were looked at.
var ErrNotFound = errors.New("no such image")

// ErrInUse says that a running container needs what was to be removed.
var ErrInUse = errors.New("image is being used by a running container")

// Error is what this package returns where it knows what would help.
type Error struct {
	Op   string // what was done, for example "pull docker.io/library/debian:latest"
	Err  error
	Help string // what to do about it; may be empty
}

func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Hint is one line that says what to do.
func (e *Error) Hint() string { return e.Help }
