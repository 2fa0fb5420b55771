package hint_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/minirun/minirun/internal/hint"
)

func TestText(t *testing.T) {
	inner := hint.With(io.EOF, "read less")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{io.EOF, ""},
		{inner, "read less"},
		{fmt.Errorf("read: %w", inner), "read less"},
		{hint.With(fmt.Errorf("read: %w", inner), "close it"), "close it"},
		{hint.With(fmt.Errorf("read: %w", inner), ""), "read less"},
		{errors.Join(io.ErrClosedPipe, inner), "read less"},
		{hint.New("a: b", "do c"), "do c"},
	} {
		if got := hint.Text(tt.err); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}

// A hint changes neither an error's text nor what it is.
func TestWith(t *testing.T) {
	if err := hint.With(io.EOF, "read less"); err.Error() != io.EOF.Error() || !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if hint.With(nil, "read less") != nil {
		t.Error("no error became one")
	}
}
