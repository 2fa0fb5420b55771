// Package removeall removes untrusted directory trees: of any depth and any width,
// with files that are marked immutable.
package removeall

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxOpen is how many directories of the tree are open at a time. A deeper directory
// is moved to the top of the tree first, and removed from there.
const maxOpen = 16

// Remove removes path and everything below it. It returns nil if path does not exist.
//
// Remove opens every directory relative to its parent and follows no symbolic links,
// so it never leaves the tree, whatever others rename there meanwhile. It uses at
// most 17 file descriptors, fewer if no more are left, and memory that does not grow
// with the tree. It clears the immutable and append-only attributes (chattr(1)) of
// what it removes, which needs CAP_LINUX_IMMUTABLE.
//
// Remove does not enter mounts: a mount in the tree is left, and is an error (EXDEV or
// EBUSY). Like [os.RemoveAll] it removes what it can and returns the first error, an
// [*os.PathError]. Its path is where the entry was last, which may not be where it was
// in the beginning.
func Remove(path string) error {
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(parent)
	return RemoveAt(parent, filepath.Base(path), filepath.Dir(path))
}

// RemoveAt is Remove of an entry of the open directory parent. The path of parent is
// used in errors only.
func RemoveAt(parent int, name, path string) error {
	r := remover{parent: parent, path: path}
	r.remove(name)
	for len(r.open) > 0 {
		if name := r.next(); name != "" {
			r.remove(name)
		} else {
			r.leave()
		}
	}
	return r.err
}

// remover removes the entries of the last of its open directories, each of which is in
// the previous one.
type remover struct {
	parent int    // of the first open directory
	path   string // of parent
	open   []directory
	moved  int   // how many directories have been moved to the top
	err    error // the first that occurred
	buffer [8192]byte
}

type directory struct {
	fd       int
	name     string
	names    []string // read, but not removed yet
	progress bool     // something was removed since the directory was read from its start
	cleared  bool     // its own attributes do not protect its entries any more
}

// fd is the directory that contains the entries to be removed.
func (r *remover) fd() int {
	if len(r.open) == 0 {
		return r.parent
	}
	return r.open[len(r.open)-1].fd
}

// next returns the name of another entry, or "" at the end of the directory.
func (r *remover) next() string {
	d := &r.open[len(r.open)-1]
	for len(d.names) == 0 {
		n, err := ignoringEINTR(func() (int, error) { return unix.ReadDirent(d.fd, r.buffer[:]) })
		if err != nil && !errors.Is(err, unix.ENOENT) { // it was removed meanwhile
			r.fail("readdir", "", err)
		}
		if err != nil || n == 0 {
			return ""
		}
		_, _, d.names = unix.ParseDirent(r.buffer[:n], -1, d.names)
	}
	name := d.names[len(d.names)-1]
	d.names = d.names[:len(d.names)-1]
	return name
}

// remove removes an entry, or enters it if it is a directory with entries.
func (r *remover) remove(name string) {
	err := r.unlink(name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = r.unlink(name, unix.AT_REMOVEDIR)
		if notEmpty(err) {
			r.enter(name)
			return
		}
	}
	r.done("unlinkat", name, err)
}

func (r *remover) done(op, name string, err error) {
	switch {
	case err != nil && !errors.Is(err, unix.ENOENT):
		r.fail(op, name, err)
	case len(r.open) > 0:
		r.open[len(r.open)-1].progress = true
	}
}

func (r *remover) fail(op, name string, err error) {
	if r.err != nil {
		return
	}
	path := r.path
	for _, d := range r.open {
		path = filepath.Join(path, d.name)
	}
	r.err = &os.PathError{Op: op, Path: filepath.Join(path, name), Err: err}
}

// unlink is unlinkat(2) of an entry that may be protected by its own attributes or
// by those of the directory.
func (r *remover) unlink(name string, flags int) error {
	err := unlinkat(r.fd(), name, flags)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	r.clear(name)
	return unlinkat(r.fd(), name, flags)
}

// clear clears the attributes of an entry and of the directory.
func (r *remover) clear(name string) {
	if len(r.open) > 0 && !r.open[len(r.open)-1].cleared {
		r.open[len(r.open)-1].cleared = true
		clearAttributes(r.fd())
	}
	var st unix.Stat_t
	if unix.Fstatat(r.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return // opening a device may act on it, and only these have attributes
	}
	if fd, err := openat(r.fd(), name, 0); err == nil {
		clearAttributes(fd)
		unix.Close(fd)
	}
}

// enter opens a directory, or moves it to the top if too many are open.
func (r *remover) enter(name string) {
	if len(r.open) == maxOpen {
		r.move(name)
		return
	}
	fd, err := openat(r.fd(), name, unix.O_DIRECTORY)
	switch {
	case err == nil:
		r.open = append(r.open, directory{fd: fd, name: name})
	case (errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)) && len(r.open) > 1:
		r.move(name)
	default:
		r.done("openat", name, err)
	}
}

// move moves a directory to the first open one, which is read again at its end. The
// new name may replace an empty directory, which was to be removed as well.
func (r *remover) move(name string) {
	top := r.open[0].fd
	for {
		r.moved++
		to := ".removing-" + strconv.Itoa(r.moved)
		err := unix.Renameat(r.fd(), name, top, to)
		if errors.Is(err, unix.EPERM) {
			r.clear(name)
			err = unix.Renameat(r.fd(), name, top, to)
		}
		if notEmpty(err) || errors.Is(err, unix.ENOTDIR) {
			continue // the name is taken
		}
		r.done("renameat", name, err)
		if err == nil {
			r.open[0].progress = true
		}
		return
	}
}

// leave removes the directory that was read to its end. If it still has entries, they
// were added late, or skipped while others were removed (readdir(3)): it is read again
// unless the last reading removed nothing.
func (r *remover) leave() {
	last := len(r.open) - 1
	d := r.open[last]
	r.open = r.open[:last]
	err := r.unlink(d.name, unix.AT_REMOVEDIR)
	if d.progress && notEmpty(err) {
		d.progress = false
		if _, err := unix.Seek(d.fd, 0, unix.SEEK_SET); err == nil {
			r.open = append(r.open, d)
			return
		}
	}
	unix.Close(d.fd)
	r.done("unlinkat", d.name, err)
}

func notEmpty(err error) bool {
	return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) // POSIX has both
}

func unlinkat(dir int, name string, flags int) error {
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.Unlinkat(dir, name, flags) })
	return err
}

// openat opens an entry for reading unless it is a symbolic link or a mount.
func openat(dir int, name string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Openat2(dir, name, &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_NO_XDEV})
	})
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) { // EPERM is an old seccomp filter's
		return fd, err
	}
	fd, err = ignoringEINTR(func() (int, error) { return unix.Openat(dir, name, flags, 0) }) // Linux before 5.6
	if err != nil {
		return -1, err
	}
	var parent, entry unix.Stat_t
	err = errors.Join(unix.Fstat(dir, &parent), unix.Fstat(fd, &entry))
	if err == nil && parent.Dev != entry.Dev {
		err = unix.EXDEV
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// From linux/fs.h; see ioctl_iflags(2).
const (
	immutable  = 0x10 // FS_IMMUTABLE_FL
	appendOnly = 0x20 // FS_APPEND_FL
)

// clearAttributes does what chattr -ia does, if the file system has these attributes.
func clearAttributes(fd int) {
	attributes, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err == nil && attributes&(immutable|appendOnly) != 0 {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, attributes&^(immutable|appendOnly)) // if it fails, so does the removal
	}
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
