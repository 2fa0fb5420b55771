package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// Size returns how many bytes the files have that a container has made or changed, except for
// what is below the directories aside, and how many these and the layers have. As with Docker,
// directories count nothing, and a file with several names once. What is in memory is not
// seen.
func (o Overlay) Size(aside []string) (changed, all int64, err error) {
	upper, err := os.OpenRoot(o.upper())
	switch {
	case errors.Is(err, os.ErrNotExist): // it has never been mounted
		err = nil
	case err == nil:
		changed, err = sizeOf(upper, aside)
		upper.Close()
	}
	all = changed
	for _, layer := range o.Layers {
		size, _ := layerNote(layer) // none for a directory of the host's
		all += size
	}
	return changed, all, err
}

func sizeOf(upper *os.Root, aside []string) (size int64, err error) {
	seen := map[uint64]bool{}
	err = fs.WalkDir(upper.FS(), ".", func(file string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = upper.Lstat(file)
		}
		if errors.Is(err, os.ErrNotExist) { // it was removed meanwhile
			return nil
		}
		if err != nil {
			return fmt.Errorf("measure %s: %w", path.Join(upper.Name(), file), err)
		}
		st := info.Sys().(*syscall.Stat_t)
		switch {
		case entry.IsDir() && slices.Contains(aside, "/"+file):
			return fs.SkipDir
		case entry.IsDir(), st.Nlink > 1 && seen[st.Ino]:
			return nil
		}
		seen[st.Ino] = true
		size += st.Size
		return nil
	})
	return size, err
}
