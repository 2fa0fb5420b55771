package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/minirun/minirun/internal/atomicfile"
)

// fileError returns the error for a file that the user has named and that cannot be read or
// written. It is `WHAT FILE: WHY`, whichever step failed.
func fileError(what, file string, err error) *usageError {
	why := err
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		why = path.Err
	case errors.As(err, &link):
		why = link.Err
	}
	e := &usageError{what + " " + file + ": " + why.Error(), errnoHint(err)}
	abs, _ := filepath.Abs(file)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG):
		e.hint = "check the path " + abs
	case errors.Is(err, syscall.EISDIR):
		e.hint = "name a file in it"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.hint = "free some space there, or name a file on another file system"
	case errors.Is(err, syscall.EROFS):
		e.hint = "name a file on a file system that can be written to"
	case errors.Is(err, fs.ErrPermission):
		e.hint = "check who may use it: ls -ld " + abs
	}
	return e
}

// maxText is the size of the largest file of lines that minirun reads, such as one of
// variables. The arguments and variables of a command are limited to 2 MiB together.
const maxText = 2 << 20

// readLines reads the file of lines that a flag or argument names, which may be a pipe or
// a device. what is what the error calls it.
func readLines(what, file string) ([]byte, error) {
	data, err := readUpTo(file, maxText+1)
	switch {
	case err != nil:
		return nil, fileError(what, file, err)
	case len(data) > maxText:
		return nil, &usageError{fmt.Sprintf("%s %s: the file is larger than the limit of %d MiB", what, file, maxText>>20), "name a text file"}
	}
	return data, nil
}

// readUpTo returns the first limit bytes of a file.
func readUpTo(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// realFile returns the absolute path of a file without symbolic links. Only its last element may not exist.
// A link to a file that does not exist is followed, as open(2) with O_CREAT does.
func realFile(file string) (string, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if _, err = os.Stat(file); err == nil {
		return filepath.EvalSymlinks(file)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, filepath.Base(file))
	target, err := os.Readlink(file)
	switch {
	case err != nil:
		return file, nil //nolint:nilerr // nothing is there
	case !filepath.IsAbs(target):
		target = filepath.Join(dir, target)
	}
	return realFile(target)
}

// writeFile replaces a file's content atomically. An existing file keeps its mode and owner, a symbolic
// link is followed, and a file that is not regular, such as /dev/null, is written to.
func writeFile(file string, data []byte) error {
	real, err := realFile(file)
	if err != nil {
		return fileError("write", file, err)
	}
	file = real
	info, err := os.Stat(file)
	switch {
	case err == nil && !info.Mode().IsRegular():
		err = writeTo(file, data)
	case err == nil || errors.Is(err, fs.ErrNotExist):
		err = atomicfile.Write(file, data, 0o666) // the umask decides who may read it
	}
	if err != nil {
		return fileError("write", file, err)
	}
	return nil
}

func writeTo(file string, data []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
