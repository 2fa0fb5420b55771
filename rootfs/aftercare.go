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

	// maxKept bounds what is kept of a layer until its end, as counted by
	// [aftercare.keep]. A Debian has 300 kB of it.
	maxKept = 128 << 20
)

// aftercare is what is done to a layer once all of it is unpacked.
type aftercare struct {
	root    *tar.Header                  // of the root folder, or nil
	xattrs  map[string]map[string]string // by name and attribute
	opaques []string                     // names of folders
	folders []folderTime
	kept    int

	inParts bool // go-archive has set the times of folders before the last file came
}

type folderTime struct {
	name string
	time time.Time
}

// keep counts what is kept: size bytes of text and what Go needs around them.
func (a *aftercare) keep(size int) error {
	const overhead = 128
	if a.kept += size + overhead; a.kept > maxKept {
		return &limitError{"list of the layer's folders and extended attributes", maxKept}
	}
	return nil
}

func (a *aftercare) opaque(name string) error {
	a.opaques = append(a.opaques, name)
	return a.keep(len(name))
}

// entry keeps what has to be done about an entry. A later entry of the same name
// replaces a file, and so what is known of it.
func (a *aftercare) entry(h *tar.Header, records map[string]string) error {
	switch {
	case h.Typeflag != tar.TypeDir:
		delete(a.xattrs, h.Name)
	case h.Name == ".":
		a.root = h
	default:
		a.folders = append(a.folders, folderTime{h.Name, h.ModTime})
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
			return fmt.Errorf("the entry %s sets %s, which is overlayfs's own", quote(h.Name), attribute)
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
	// Clones, since both are parts of a header of up to 1 MiB.
	a.xattrs[name][strings.Clone(attribute)] = strings.Clone(value)
	return a.keep(len(attribute) + len(value))
}

// finish sets extended attributes, the times of folders, and the mode, owner and
// time of dir (0755 and root's where the tar has no entry for it), which
// go-archive leaves out. Attributes come last, as chown(2) for a second hard link
// takes a file's capabilities away.
func (a *aftercare) finish(dir string) error {
	for _, name := range a.opaques {
		if err := makeOpaque(dir, name); err != nil {
			return fmt.Errorf("opaque folder %s: %w", quote(name), err)
		}
	}
	for name, attributes := range a.xattrs {
		if err := setXattrs(dir, name, attributes); err != nil {
			return err
		}
	}
	if a.inParts {
		for _, f := range a.folders {
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

// find looks a name up in the layer, with links understood as in a chroot; the
// last part is not followed. It returns nil when a later entry has taken the
// file away.
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

// makeOpaque marks a folder, and makes it if no entry has.
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

// makeImplied makes a folder and those above it with mode 0755, whatever the umask.
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
		// The kernel has no user attributes of other types (xattr(7)). Docker leaves
		// them out as well.
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

func setTime(dir string, f folderTime) error {
	path, info, err := find(dir, f.name)
	if info == nil || !info.IsDir() {
		return err
	}
	return os.Chtimes(path, f.time, f.time)
}
