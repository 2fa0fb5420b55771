package memfd_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/memfd"
)

// A page that is in a pipe is in use: the file is sealed when the pipe is empty.
func TestSeal(t *testing.T) {
	f, err := memfd.Create("test", true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	if _, err := f.Write(page); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var start int64
	if _, err := unix.Splice(int(f.Fd()), &start, int(w.Fd()), nil, len(page), 0); err != nil {
		t.Fatal(err)
	}
	seal := unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seal); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("a page is in use: %v, want EBUSY", err)
	}
	done := make(chan error)
	go func() { done <- memfd.Seal(f) }()
	if _, err := r.Read(page); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(page, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("write to a sealed file: %v, want EPERM", err)
	}
	if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncate a sealed file: %v, want EPERM", err)
	}
}
