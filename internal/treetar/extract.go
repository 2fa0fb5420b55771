package treetar

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Owner returns the owner to give to a file which, in the stream, belongs to uid and gid.
type Owner func(uid, gid int) (int, int)

// Extract extracts a tar stream below the directory dir. A name that leads out of dir by
// "..", or through a symbolic link, is an error. Directories without an entry are created.
// A file replaces another file; a file does not replace a directory, nor a directory a
// file. A directory that exists keeps its mode and owner.
func Extract(r io.Reader, dir int, owner Owner) error {
	x := extractor{dir: dir, owner: owner}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return fmt.Errorf("read the tar stream: %w", err)
		}
		if err := x.entry(h, in); err != nil {
			var at *os.PathError
			if errors.As(err, &at) {
				return err
			}
			return &os.PathError{Op: "copy", Path: h.Name, Err: err}
		}
	}
}

type extractor struct {
	dir   int
	owner Owner
	dirs  []*tar.Header // directories that were made; their times are set last
}

func (x *extractor) entry(h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	switch {
	case name == "." || name == "/":
		return nil
	case h.Typeflag == tar.TypeXGlobalHeader:
		return nil
	}
	name = strings.TrimPrefix(name, "/")
	parent, err := x.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	base := path.Base(name)
	exists, err := x.clear(parent, base, h)
	if err != nil || exists {
		return err
	}
	if err := x.make(parent, base, h, content); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		x.dirs = append(x.dirs, h)
	}
	return nil
}

// open opens a name below dir. A symbolic link on the way is an error.
func (x *extractor) open(name string, flags uint64) (int, error) {
	fd, err := unix.Openat2(x.dir, name, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ELOOP):
		err = errors.New("a symbolic link is on the way")
	case errors.Is(err, unix.EXDEV):
		err = errors.New("it leads out of the directory")
	}
	return fd, err
}

// parent opens the directory that a name is in, and makes it if it does not exist.
func (x *extractor) parent(name string) (int, error) {
	dir := path.Dir(name)
	fd, err := x.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	above, err := x.parent(dir)
	if err != nil {
		return -1, err
	}
	defer unix.Close(above)
	h := &tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}
	if err := x.make(above, path.Base(dir), h, nil); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return x.open(dir, unix.O_PATH|unix.O_DIRECTORY)
}

// clear makes room for an entry. It reports whether the entry is a directory that exists,
// which stays.
func (x *extractor) clear(parent int, base string, h *tar.Header) (exists bool, err error) {
	var st unix.Statx_t
	err = unix.Statx(parent, base, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st)
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, err
	case isDir && h.Typeflag == tar.TypeDir:
		return true, nil
	case isDir:
		return false, errors.New("cannot overwrite directory with non-directory")
	case st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0: // unlink(2) would unmount it in the container
		return false, unix.EBUSY
	case h.Typeflag == tar.TypeDir:
		return false, errors.New("cannot overwrite non-directory with directory")
	}
	return false, unix.Unlinkat(parent, base, 0)
}

func (x *extractor) make(parent int, base string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeReg:
		return x.file(parent, base, h, content)
	case tar.TypeDir:
		if err := unix.Mkdirat(parent, base, 0o700); err != nil {
			return err
		}
		return x.dress(parent, base, h)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, parent, base); err != nil {
			return err
		}
		return x.dress(parent, base, h)
	case tar.TypeLink:
		target, err := x.open(strings.TrimPrefix(path.Clean(h.Linkname), "/"), unix.O_PATH)
		if err != nil {
			return err
		}
		defer unix.Close(target)
		return unix.Linkat(unix.AT_FDCWD, descriptor(target), parent, base, unix.AT_SYMLINK_FOLLOW)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
		if err := unix.Mknodat(parent, base, kind|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))); err != nil {
			return err
		}
		return x.dress(parent, base, h)
	}
	return fmt.Errorf("an entry of type %q cannot be copied", h.Typeflag)
}

func (x *extractor) file(parent int, base string, h *tar.Header, content io.Reader) (err error) {
	fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	uid, gid := x.owner(h.Uid, h.Gid)
	if err := unix.Fchown(fd, uid, gid); err != nil { // this drops capabilities and set-user-ID
		return err
	}
	if value, ok := h.PAXRecords[xattrRecord+capability]; ok {
		if err := unix.Fsetxattr(fd, capability, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return errors.Join(unix.Fchmod(fd, uint32(h.Mode&0o7777)), setTime(fd, h))
}

// dress sets the owner, mode and time of a file that is not a regular one. It opens the
// file first, so that all of them are set on the same file.
func (x *extractor) dress(parent int, base string, h *tar.Header) error {
	fd, err := unix.Openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	uid, gid := x.owner(h.Uid, h.Gid)
	if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK { // it has no mode
		return nil
	}
	return errors.Join(unix.Chmod(descriptor(fd), uint32(h.Mode&0o7777)), setTime(fd, h))
}

// setTime sets the time of modification of an open file.
func setTime(fd int, h *tar.Header) error {
	if h.ModTime.IsZero() {
		return nil
	}
	t, err := unix.TimeToTimespec(h.ModTime)
	if err != nil {
		return nil // the file system could not keep it
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, descriptor(fd), []unix.Timespec{t, t}, 0)
}

// finish sets the times of directories, which making their entries has changed.
func (x *extractor) finish() error {
	for _, h := range x.dirs {
		fd, err := x.open(strings.TrimPrefix(path.Clean(h.Name), "/"), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue // another program has removed it
		}
		err = setTime(fd, h)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}
