package rootfs

import (
	"errors"
	"strings"
	"unicode"
)

// ErrNotFound says that an image is in none of the places that were looked at.
var ErrNotFound = errors.New("no such image")

// ErrInUse says that a running container needs what was to be removed.
var ErrInUse = errors.New("image is being used by a running container")

// ErrDamaged says that the store does not have what it had of an image.
var ErrDamaged = errors.New("the store is damaged")

// Error is what this package returns where it knows what would help.
type Error struct {
	Op   string // what was done, for example "pull docker.io/library/debian:latest"
	Err  error
	Help string // what to do about it; may be empty
}

// Error is one line, whatever a registry answered or a tarball names its files.
func (e *Error) Error() string {
	text := e.Err.Error()
	if e.Op != "" {
		text = e.Op + ": " + text
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
}

func (e *Error) Unwrap() error { return e.Err }

// Hint is one line that says what to do.
func (e *Error) Hint() string { return e.Help }
