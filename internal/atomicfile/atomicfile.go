// Package atomicfile reads and writes whole files.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is the error for a directory, a FIFO or the like in the place of a file.
var ErrNotRegular = errors.New("not a regular file")

// Read returns the content of a regular file. Unlike [os.ReadFile] it does not wait for the
// writer of a FIFO that is in its place.
func Read(path string) ([]byte, error) {
	f, err := Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Open is [os.OpenFile] for a regular file. It does not wait for the other end of a FIFO that is
// in its place: the error is [ErrNotRegular], or ENXIO (fifo(7)).
func Open(path string, flags int, perm os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, perm)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Pattern matches the names of the temporary files that a killed writer may leave
// beside its file, as [filepath.Match] does.
const Pattern = ".new-*"

// Write makes or replaces the file path with rename(2): whoever reads it sees the
// old content or all of data. After an error the old content remains.
//
// A new file has the mode perm, less the umask. A regular file that exists keeps its mode and,
// if this process may give files away (CAP_CHOWN), its owner and group; anything else is replaced,
// including a symbolic link.
func Write(path string, data []byte, perm os.FileMode) error {
	return write(temporary(path), os.O_EXCL, path, data, perm, false)
}

// WriteVia is Write by way of a temporary file that the caller names, and so can remove
// when a writer has been killed. It must be in path's directory, and there may be only
// one writer at a time. What a killed one has left in it is overwritten.
func WriteVia(temporary, path string, data []byte, perm os.FileMode) error {
	return write(temporary, os.O_TRUNC|unix.O_NOFOLLOW, path, data, perm, false)
}

// WriteSync is Write for a file that must be whole after a power failure as well: it
// calls fsync(2) before it replaces the file.
func WriteSync(path string, data []byte, perm os.FileMode) error {
	return write(temporary(path), os.O_EXCL, path, data, perm, true)
}

func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), Pattern[:len(Pattern)-1]+rand.Text())
}

func write(temporary string, flags int, path string, data []byte, perm os.FileMode, sync bool) error {
	old, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|flags, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && old != nil && old.Mode().IsRegular() {
		keepOwner(f, old)
		err = f.Chmod(old.Mode())
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

// keepOwner gives f the owner and group of old, if this process may.
func keepOwner(f *os.File, old os.FileInfo) {
	var now unix.Stat_t
	want, ok := old.Sys().(*syscall.Stat_t)
	if ok && unix.Fstat(int(f.Fd()), &now) == nil && (now.Uid != want.Uid || now.Gid != want.Gid) {
		_ = f.Chown(int(want.Uid), int(want.Gid))
	}
}
