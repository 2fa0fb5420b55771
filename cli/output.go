package cli

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile gives a file its content at once or not at all. A file that is there
// keeps its mode, a symbolic link stays one, and what is not a regular file, as
// /dev/null, is only written to.
func writeFile(file string, data []byte) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	info, err := os.Stat(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && !info.Mode().IsRegular() {
		return writeTo(file, os.O_WRONLY, data)
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
	var path *fs.PathError // of a name that says nothing to the user
	if errors.As(err, &path) {
		err = path.Err
	}
	return &fs.PathError{Op: "write", Path: file, Err: err}
}

func writeTo(file string, flags int, data []byte) error {
	f, err := os.OpenFile(file, flags, 0o666) //nolint:gosec // the umask says who may read it
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
