package rootfs

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// WithFiles returns the image's layers on top of one in which files, absolute paths, exist
// and are empty. They are mount points, which then need not be created on the disk for each
// container. What the image has at these paths stays.
//
// The layer is kept in the store at root, which must be the store of the image. It is left
// out for an image that is not in a store: overlayfs shows other device numbers if its
// layers are on several file systems (Documentation/filesystems/overlayfs.rst, "Inode
// properties"). It is also left out if it cannot be made, or if the image has as many
// layers as overlayfs takes. Then the files are created when they are needed.
func (i *Image) WithFiles(root string, files ...string) []string {
	if i.lock == nil || len(i.Layers) == maxLayers {
		return i.Layers
	}
	s := &Store{root: root}
	layer := s.path(fmt.Sprintf("files-%08x", crc32.ChecksumIEEE([]byte(strings.Join(files, "\n")))))
	if _, err := os.Lstat(layer); err != nil && s.makeFiles(layer, files) != nil {
		return i.Layers
	}
	return append([]string{layer}, i.Layers...)
}

// makeFiles makes a layer with empty files, in one step. Several processes may do so at a
// time.
func (s *Store) makeFiles(layer string, files []string) error {
	work, err := s.newWorkDir()
	if err != nil {
		return err
	}
	defer func() { _ = work.remove() }() // else the next sweep does
	made := work.join("files")
	for _, file := range files {
		if err := makeEmpty(made, filepath.Dir(file), file); err != nil {
			return err
		}
	}
	err = os.Rename(made, layer)
	if _, serr := os.Lstat(layer); serr == nil {
		return nil
	}
	return err
}

// makeEmpty makes an empty file below root, and its directory. Their modes do not depend on
// the umask.
func makeEmpty(root, dir, file string) error {
	if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
		return err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(root, file), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
