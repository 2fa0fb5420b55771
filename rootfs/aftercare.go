package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	xattrRecord    = "SCHILY.xattr."    // PAX record of an extended attribute, as GNU tar, Docker and Go write it
	overlayPrivate = "trusted.overlay." // overlayfs's own attributes

	// maxKept bounds the bytes that are kept in memory until the end of a layer, as
	// [aftercare.keep] counts them. Debian needs 300 kB.
	maxKept = 128 << 20
)

// aftercare is what remains to be done to the directories of a layer once all of it is
// unpacked. It cannot be done earlier: each new entry changes the time of its directory,
// and inherits the directory's default ACL.
type aftercare struct {
	root    *tar.Header                  // of the root directory, or nil
	xattrs  map[string]map[string]string // by name and attribute
	opaques []string
	dirs    []dirTime
	kept    int
}

type dirTime struct {
	name string
	time time.Time
}

// keep counts what is kept: size bytes of text and Go's overhead.
func (a *aftercare) keep(size int) error {
	const overhead = 128
	if a.kept += size + overhead; a.kept > maxKept {
		return &limitError{"list of the layer's directories and their extended attributes", maxKept}
	}
	return nil
}

// entry checks the attributes of an entry, and notes what remains to be done to it. It
// returns true if there is nothing else to do. A file that replaces a directory drops the
// directory's attributes.
func (a *aftercare) entry(h *tar.Header, records map[string]string) (done bool, err error) {
	for record := range records {
		if attribute, ok := strings.CutPrefix(record, xattrRecord); ok && (strings.HasPrefix(attribute, overlayPrivate) || strings.HasPrefix(attribute, overlayPrefix())) {
			return false, fmt.Errorf("the entry %s sets %s, which is reserved for overlayfs", quote(h.Name), attribute)
		}
	}
	switch {
	case path.Base(h.Name) == opaqueWhiteout:
		a.opaques = append(a.opaques, path.Dir(h.Name))
		return true, a.keep(len(h.Name))
	case h.Typeflag != tar.TypeDir && h.Name == ".":
		return false, errors.New("the root directory's entry is not a directory")
	case h.Typeflag != tar.TypeDir:
		if h.Typeflag != typeWhiteout { // a whiteout leaves a directory of its own layer in place
			delete(a.xattrs, h.Name)
		}
		return false, nil
	case h.Name == ".":
		a.root = h
	default:
		a.dirs = append(a.dirs, dirTime{h.Name, h.ModTime})
		if err := a.keep(len(h.Name)); err != nil {
			return false, err
		}
	}
	for record, value := range records {
		if attribute, ok := strings.CutPrefix(record, xattrRecord); ok {
			if err := a.keepXattr(h.Name, attribute, value); err != nil {
				return false, err
			}
		}
	}
	return h.Name == ".", nil
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
	a.xattrs[name][xattrRecord+strings.Clone(attribute)] = strings.Clone(value)
	return a.keep(len(attribute) + len(value))
}

// finish marks opaque directories, sets the attributes and times of directories, and sets
// the mode and the owner of the root. If the tar has no entry for the root, its mode is
// 0755 and its owner is the user who unpacks.
func (a *aftercare) finish(u *unpacker) error {
	for _, name := range a.opaques {
		if err := u.makeOpaque(name); err != nil {
			return fmt.Errorf("opaque directory %s: %w", quote(name), err)
		}
	}
	if err := a.finishRoot(u); err != nil {
		return fmt.Errorf("the root directory: %w", err)
	}
	for name, records := range a.xattrs {
		err := u.atDirectory(name, func(fd int) error {
			return u.attributes(records, func(attribute string, value []byte) error { return unix.Fsetxattr(fd, attribute, value, 0) })
		})
		if err != nil {
			return fmt.Errorf("the entry %s: %w", quote(name), err)
		}
	}
	for _, d := range a.dirs {
		if err := u.atDirectory(d.name, func(fd int) error { return setTime(fd, d.time) }); err != nil {
			return fmt.Errorf("the entry %s: %w", quote(d.name), err)
		}
	}
	if a.root == nil {
		return nil
	}
	return setTime(u.tree.root, a.root.ModTime)
}

func (a *aftercare) finishRoot(u *unpacker) error {
	if a.root == nil {
		return unix.Fchmod(u.tree.root, 0o755)
	}
	if err := unix.Fchown(u.tree.root, a.root.Uid, a.root.Gid); err != nil {
		return err
	}
	return unix.Fchmod(u.tree.root, uint32(a.root.Mode))
}

// atDirectory opens a directory and calls do, unless a later entry has replaced the
// directory.
func (u *unpacker) atDirectory(name string, do func(fd int) error) error {
	if err := u.room.next(0, 0); err != nil {
		return err
	}
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW
	fd, err := openat2(u.tree.root, name, flags)
	if err != nil {
		fd, err = u.openSlowly(name, flags)
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil
	case err != nil:
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

// openSlowly opens a directory that openat2 has refused: its name leads through an absolute
// link, or Linux is older than 5.6.
func (u *unpacker) openSlowly(name string, flags int) (int, error) {
	dir, base := split(name)
	if dir == "" {
		return unix.Openat(u.tree.root, base, flags|unix.O_CLOEXEC, 0)
	}
	parent, err := u.tree.open(dir, false)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	return unix.Openat(parent, base, flags|unix.O_CLOEXEC, 0)
}

// makeOpaque marks a directory as opaque, and creates it if no entry did. A file that is
// not a directory hides nothing.
func (u *unpacker) makeOpaque(name string) error {
	fd, err := u.tree.open(name, true)
	if errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return u.tree.makeOpaque(fd, ".")
}
