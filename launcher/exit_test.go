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

func TestOpensForWriting(t *testing.T) {
	for line, want := range map[string]bool{
		"257 0xc 0xc000 0x80001 0x0 0x0 0x0 0x7ffd 0x4a\n": true,
		"257 0xc 0xc000 0x80000 0x0 0x0 0x0 0x7ffd 0x4a\n": false, // O_RDONLY
		"202 0xc 0xc000 0x80001 0x0 0x0 0x0 0x7ffd 0x4a\n": false, // futex
		"running\n":    false,
		"-1 0x0 0x0\n": false,
		"":             false,
	} {
		if got := opensForWriting([]byte(line)); got != want {
			t.Errorf("%q: got %v", line, got)
		}
	}
}
