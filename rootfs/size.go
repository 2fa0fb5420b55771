package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Size returns how many bytes the files have that a container has made or changed, except for
// what is below the directories aside, and how many these and the layers have. As with Docker,
// directories count nothing, and a file with several names once. What is in memory is not
// seen.
func (o Overlay) Size(aside []string) (changed, all int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(o.upper(), func(file string, entry fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(file, &st)
		}
		switch {
		case errors.Is(err, os.ErrNotExist): // it was removed meanwhile
			return nil
		case err != nil:
			return &os.PathError{Op: "measure", Path: file, Err: err}
		case entry.IsDir() && slices.Contains(aside, file[len(o.upper()):]):
			return fs.SkipDir
		case entry.IsDir(), st.Nlink > 1 && seen[st.Ino]:
			return nil
		}
		seen[st.Ino] = true
		changed += st.Size
		return nil
	})
	all = changed
	for _, layer := range o.Layers {
		size, _ := layerNote(layer) // none for a directory of the host's
		all += size
	}
	return changed, all, err
}
