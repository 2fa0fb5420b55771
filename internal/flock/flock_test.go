package flock

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ has, wants, want int }{
		{unix.LOCK_SH, unix.LOCK_SH, 0},
		{unix.LOCK_SH, unix.LOCK_EX, int(unix.EWOULDBLOCK)},
		{unix.LOCK_EX, unix.LOCK_SH, int(unix.EWOULDBLOCK)},
		{unix.LOCK_EX, unix.LOCK_EX, int(unix.EWOULDBLOCK)},
	} {
		first, err := Open(dir, c.has)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Open(dir, c.wants|unix.LOCK_NB)
		if c.want == 0 && err != nil || c.want != 0 && !errors.Is(err, unix.Errno(c.want)) {
			t.Errorf("lock %d over %d: %v", c.wants, c.has, err)
		}
		if err == nil {
			second.Close()
		}
		first.Close()
		free, err := Open(dir, c.wants|unix.LOCK_NB)
		if err != nil {
			t.Fatalf("lock %d once %d has ended: %v", c.wants, c.has, err)
		}
		free.Close()
	}
	if _, err := Open(filepath.Join(dir, "none"), unix.LOCK_SH); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
