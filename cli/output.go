package cli

import (
	"errors"
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
	if errors.As(err, &path) {
		why = path.Err
	}
	e := &usageError{what + " " + file + ": " + why.Error(), errnoHint(err)}
	abs, _ := filepath.Abs(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.hint = "check the path " + abs
	case errors.Is(err, syscall.EISDIR):
		e.hint = "name a file in it"
	case errors.Is(err, fs.ErrPermission):
		e.hint = "check who may use it: ls -ld " + abs
	}
	return e
}

// writeFile replaces a file's content atomically. An existing file keeps its mode, a symbolic
// link is followed, and a file that is not regular, such as /dev/null, is written to.
func writeFile(file string, data []byte) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
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
