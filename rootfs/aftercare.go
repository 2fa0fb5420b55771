package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

const (
	xattrRecord    = "SCHILY.xattr."    // PAX record of an extended attribute, as GNU tar, Docker and Go write it
	overlayPrivate = "trusted.overlay." // overlayfs's own attributes

	// maxKept bounds what is kept in memory until the end of a layer, as counted by
	// [aftercare.keep]. Debian needs 300 kB.
	maxKept = 128 << 20
)

// aftercare is what remains to be done to a layer once all of it is unpacked.
type aftercare struct {
	root    *tar.Header                  // of the root directory, or nil
	xattrs  map[string]map[string]string // by name and attribute
	opaques []string                     // names of directories
	dirs    []dirTime
	kept    int

	inParts bool // go-archive set the times of directories before the last file was made
}

type dirTime struct {
	name string
	time time.Time
}

// keep counts what is kept: size bytes of text and Go's overhead.
func (a *aftercare) keep(size int) error {
	const overhead = 128
	if a.kept += size + overhead; a.kept > maxKept {
		return &limitError{"list of the layer's directories and extended attributes", maxKept}
	}
	return nil
}

func (a *aftercare) opaque(name string) error {
	a.opaques = append(a.opaques, name)
	return a.keep(len(name))
}

// entry keeps what remains to be done to an entry. A file replaces an earlier one of
// the same name with its extended attributes.
func (a *aftercare) entry(h *tar.Header, records map[string]string) error {
	switch {
	case h.Typeflag != tar.TypeDir:
		delete(a.xattrs, h.Name)
	case h.Name == ".":
		a.root = h
	default:
		a.dirs = append(a.dirs, dirTime{h.Name, h.ModTime})
		if err := a.keep(len(h.Name)); err != nil {
			return err
		}
	}
	for record, value := range records {
		attribute, ok := strings.CutPrefix(record, xattrRecord)
		if !ok {
			continue
		}
		if strings.HasPrefix(attribute, overlayPrivate) {
			return fmt.Errorf("the entry %s sets %s, which is reserved for overlayfs", quote(h.Name), attribute)
		}
		if err := a.keepXattr(h.Name, attribute, value); err != nil {
			return err
		}
	}
	return nil
}

func (a *aftercare) keepXattr(name, attribute, value string) error {
	if a.xattrs[name] == nil {
		if a.xattrs == nil {
			a.xattrs = map[string]map[string]string{}
		}
		a.xattrs[name] = map[string]string{}
		if err := a.keep(len(name) + 512); err != nil { // a map of its own
			return err
		}
	}
	// Clones, because both are parts of a header of up to 1 MiB.
	a.xattrs[name][strings.Clone(attribute)] = strings.Clone(value)
	return a.keep(len(attribute) + len(value))
}

// finish sets extended attributes, the times of directories, and the mode, owner and
// time of dir (0755 and root's if the tar has no entry for it), none of which
// go-archive does. Attributes come last because chown(2) for a second hard link
// removes a file's capabilities.
func (a *aftercare) finish(dir string) error {
	for _, name := range a.opaques {
		if err := makeOpaque(dir, name); err != nil {
			return fmt.Errorf("opaque directory %s: %w", quote(name), err)
		}
	}
	for name, attributes := range a.xattrs {
		if err := setXattrs(dir, name, attributes); err != nil {
			return err
		}
	}
	if a.inParts {
		for _, f := range a.dirs {
			if err := setTime(dir, f); err != nil {
				return err
			}
		}
	}
	if a.root == nil {
		return os.Chmod(dir, 0o755)
	}
	if err := os.Chown(dir, a.root.Uid, a.root.Gid); err != nil {
		return err
	}
	if err := unix.Chmod(dir, uint32(a.root.Mode)); err != nil {
		return &os.PathError{Op: "chmod", Path: dir, Err: err}
	}
	return os.Chtimes(dir, a.root.ModTime, a.root.ModTime)
}

// find looks up a name in the layer, with links resolved as in a chroot; the last
// component is not followed. The info is nil if a later entry has removed the file.
func find(dir, name string) (path string, info os.FileInfo, err error) {
	parent, err := securejoin.SecureJoin(dir, filepath.Dir(name))
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(parent, filepath.Base(name))
	info, err = os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return path, nil, nil
	}
	return path, info, err
}

// makeOpaque marks a directory as opaque, and makes it if no entry has.
func makeOpaque(dir, name string) error {
	nodes := uint64(strings.Count(name, "/") + 1)
	if err := checkSpace(dir, blockSize*(nodes+1), nodes); err != nil {
		return err
	}
	path, err := securejoin.SecureJoin(dir, name)
	if err != nil {
		return err
	}
	if err := makeImplied(path); err != nil {
		return err
	}
	return unix.Lsetxattr(path, overlayPrivate+"opaque", []byte("y"), 0)
}

// makeImplied makes a directory and its parents with mode 0755, whatever the umask.
func makeImplied(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeImplied(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

func setXattrs(dir, name string, attributes map[string]string) error {
	path, info, err := find(dir, name)
	if info == nil {
		return err
	}
	for attribute, value := range attributes {
		// The kernel has no user attributes for other types of files (xattr(7)). Docker
		// ignores them as well.
		if strings.HasPrefix(attribute, "user.") && !info.IsDir() && !info.Mode().IsRegular() {
			continue
		}
		if err := checkSpace(dir, uint64(len(value)+blockSize), 0); err != nil {
			return err
		}
		if err := unix.Lsetxattr(path, attribute, []byte(value), 0); err != nil {
			return fmt.Errorf("extended attribute %s of %s: %w", attribute, quote(name), err)
		}
	}
	return nil
}

func setTime(dir string, f dirTime) error {
	path, info, err := find(dir, f.name)
	if info == nil || !info.IsDir() {
		return err
	}
	return os.Chtimes(path, f.time, f.time)
}
