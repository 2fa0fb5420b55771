package cli

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// fileError words an error of reading or writing a file that the user named:
// `WHAT FILE: WHY`, whichever step failed.
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

// writeFile gives a file its content at once or not at all. A file that is there
// keeps its mode, a symbolic link stays one, and what is not a regular file, as
// /dev/null, is only written to.
func writeFile(file string, data []byte) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	info, err := os.Stat(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError("write", file, err)
	}
	if err == nil && !info.Mode().IsRegular() {
		if err := writeTo(file, os.O_WRONLY, data); err != nil {
			return fileError("write", file, err)
		}
		return nil
	}
	temporary := filepath.Join(filepath.Dir(file), ".minirun-"+rand.Text())
	err = writeTo(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, data)
	if err == nil && info != nil {
		err = os.Chmod(temporary, info.Mode())
	}
	if err == nil {
		err = os.Rename(temporary, file)
	}
	if err == nil {
		return nil
	}
	_ = os.Remove(temporary)
	return fileError("write", file, err)
}

func writeTo(file string, flags int, data []byte) error {
	f, err := os.OpenFile(file, flags, 0o666) //nolint:gosec // the umask says who may read it
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
