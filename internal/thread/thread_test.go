package thread

import (
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDo(t *testing.T) {
	for range 100 {
		if err := Do(func() error {
			if unix.Gettid() == unix.Getpid() {
				return errors.New("the first thread")
			}
			return io.EOF
		}); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
}
