// Package hint adds to errors what the user can do about them.
//
// A hint is one line that a package can write without knowing which program shows
// it. Advice that names a program's flags and commands is that program's to write, from
// the type of the error.
package hint

import "errors"

// With returns err with a hint. It returns err itself if the text is empty or err is nil.
func With(err error, text string) error {
	if err == nil || text == "" {
		return err
	}
	return &hinted{err, text}
}

// New returns an error of a message, with a hint.
func New(message, text string) error { return With(errors.New(message), text) }

// Text returns the hint of err, or "". If its tree has several, it returns the first that
// [errors.As] finds: code that wraps an error can replace its hint.
func Text(err error) string {
	var found *hinted
	if errors.As(err, &found) {
		return found.text
	}
	return ""
}

type hinted struct {
	error
	text string
}

func (h *hinted) Unwrap() error { return h.error }
