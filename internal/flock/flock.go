// Package flock locks files and directories with flock(2). A lock ends when the last
// copy of its descriptor is closed, so it never outlives the processes that have one.
package flock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Lock locks f: how is [unix.LOCK_SH] or [unix.LOCK_EX], which wait, or one of them
// with [unix.LOCK_NB], where the error is [unix.EWOULDBLOCK] if others have the lock.
// An error is an [*os.PathError].
func Lock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// Open opens an existing file or directory for reading and locks it, as Lock does. It does not
// wait for the writer of a FIFO that is in its place.
func Open(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := Lock(f, how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
