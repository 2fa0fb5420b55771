package rootfs

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
)

// sizeSuffix ends the name of the file beside a layer's directory. The file holds the
// size of the layer's tar in bytes, a space, and the treeDigest of the directory.
const sizeSuffix = ".size"

// maxEmptyTar is the largest size in bytes of an empty tar: GNU tar writes records of
// 20 blocks.
const maxEmptyTar = 10240

// noteLayer writes the file beside an unpacked layer. It does not sync it.
func noteLayer(dir string, size int64) error {
	text := strconv.FormatInt(size, 10)
	// A tree that cannot be walked has a path longer than PATH_MAX. It works as a
	// layer, but damage to it is not noticed.
	if tree, err := treeDigest(dir); err == nil {
		text += " " + tree
	}
	return os.WriteFile(dir+sizeSuffix, []byte(text), 0o600)
}

// layerNote reads what noteLayer wrote; tree is "" if it is unknown.
func layerNote(dir string) (size int64, tree string) {
	data, _ := atomicfile.Read(dir + sizeSuffix)
	text, tree, _ := strings.Cut(string(data), " ")
	size, _ = strconv.ParseInt(text, 10, 64)
	return size, tree
}

// isIntact reports whether a layer of the store still has the files that were
// unpacked. It compares what stat(2) returns, not their content.
func (s *Store) isIntact(diffID string) bool {
	size, tree := layerNote(s.layer(diffID))
	if tree == "" {
		entries, err := os.ReadDir(s.layer(diffID))
		return err == nil && (len(entries) > 0 || size <= maxEmptyTar)
	}
	got, err := treeDigest(s.layer(diffID))
	return err == nil && got == tree
}

// treeDigest returns a digest of the names, types, modes, owners, sizes, device
// numbers and link targets of everything in a directory.
func treeDigest(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		size, target := st.Size, ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			size = 0 // it depends on the file system
		case unix.S_IFLNK:
			target, err = os.Readlink(path)
		}
		fmt.Fprintf(h, "%q %o %d %d %d %d %q\n", path[len(dir):], st.Mode, st.Uid, st.Gid, size, st.Rdev, target)
		return err
	})
	return sum(h), err
}
