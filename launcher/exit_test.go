package launcher

import (
	"errors"
	"testing"
)

func TestStartError(t *testing.T) {
	const preamble = "unable to start container process: error during container init: "
	for _, tt := range []struct {
		text, want string
		status     int
	}{
		{`exec: "foo": executable file not found in $PATH`, "run foo: executable file not found in $PATH", StatusNotFound},
		{`exec: "foo": stat foo: no such file or directory`, "run foo: stat foo: no such file or directory", StatusNotFound},
		{`exec: "foo": permission denied`, "run foo: permission denied", StatusNotExecutable},
		{`exec: "foo": is a directory`, "run foo: is a directory", StatusNotExecutable},
		{"error mounting: exec: no such file or directory", "start container: error mounting: exec: no such file or directory", StatusError},
	} {
		var e *Error
		if err := startError("foo", errors.New(preamble+tt.text)); !errors.As(err, &e) || e.Error() != tt.want || e.ExitCode() != tt.status {
			t.Errorf("%s: got %v (%d), want %s (%d)", tt.text, e, e.ExitCode(), tt.want, tt.status)
		}
	}
}
