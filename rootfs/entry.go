package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/removeall"
)

// make creates what an entry describes. It replaces what already has the name, unless both
// are directories.
func (u *unpacker) make(h *tar.Header, records map[string]string, content io.Reader) error {
	hides := h.Typeflag == typeWhiteout
	dir, base, err := u.tree.parent(h.Name, !hides)
	switch {
	case hides && errors.Is(err, errWhiteout):
		return nil // it is in a directory that is hidden as a whole
	case err != nil:
		return err
	case hides:
		if kept, err := u.hide(dir, base); kept || err != nil {
			return err
		}
	}
	if u.ids.leavesOut(h) || h.Typeflag == tar.TypeLink && u.left[h.Linkname] {
		return u.leaveOut(dir, base, h.Name)
	}
	delete(u.left, h.Name)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(dir, base, h, records, content)
	case tar.TypeDir:
		return u.directory(dir, base, h)
	case tar.TypeLink:
		return u.hardLink(dir, base, h, records)
	case tar.TypeSymlink:
		err = u.replace(dir, base, func() error { return unix.Symlinkat(h.Linkname, dir, base) })
	default:
		err = u.replace(dir, base, func() error { return unix.Mknodat(dir, base, nodeMode(h), int(nodeNumber(h))) })
	}
	if err != nil {
		return err
	}
	return u.dress(dir, base, h, records)
}

// hide reports whether the same layer has a file of the whiteout's name. That file stays: a
// whiteout hides only what is in lower layers (image-spec, layer.md). A directory becomes
// opaque, so that it is not merged with those of lower layers.
func (u *unpacker) hide(dir int, base string) (kept bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		err = u.tree.makeOpaque(dir, base)
	}
	return true, err
}

// leaveOut removes what has the name of an entry that cannot be made.
func (u *unpacker) leaveOut(dir int, base, name string) error {
	if u.left == nil {
		u.left = map[string]bool{}
	}
	u.left[name] = true
	if err := u.after.keep(len(name)); err != nil {
		return err
	}
	u.tree.forget()
	u.record.replaced()
	return removeall.RemoveAt(dir, base, "")
}

func nodeMode(h *tar.Header) uint32 {
	switch h.Typeflag {
	case tar.TypeChar, typeWhiteout:
		return unix.S_IFCHR
	case tar.TypeBlock:
		return unix.S_IFBLK
	}
	return unix.S_IFIFO
}

func nodeNumber(h *tar.Header) uint64 { return unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)) }

// replace calls make. If the name is taken, it removes what has it, and calls make again.
func (u *unpacker) replace(dir int, base string, make func() error) error {
	err := retry(make)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	u.tree.forget()
	if !isWhiteoutAt(dir, base) { // a whiteout has no content
		u.record.replaced()
	}
	if err := removeall.RemoveAt(dir, base, ""); err != nil {
		return err
	}
	return retry(make)
}

func isWhiteoutAt(dir int, base string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// retry repeats a system call as long as signals interrupt it.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (u *unpacker) directory(dir int, base string, h *tar.Header) error {
	err := retry(func() error { return unix.Mkdirat(dir, base, 0o700) })
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			hidden := isWhiteoutAt(dir, base)
			err = u.replace(dir, base, func() error { return unix.Mkdirat(dir, base, 0o700) })
			if err == nil && hidden {
				err = u.tree.makeOpaque(dir, base)
			}
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	return unix.Fchmodat(dir, base, uint32(h.Mode), 0)
}

// file makes a regular file. It has its owner, mode, attributes and time before it is
// closed: each step can undo an earlier one (chown(2), capabilities(7), acl(5)).
func (u *unpacker) file(dir int, base string, h *tar.Header, records map[string]string, content io.Reader) (err error) {
	var fd int
	err = u.replace(dir, base, func() (err error) {
		fd, err = unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if closed := unix.Close(fd); err == nil {
			err = closed
		}
	}()
	write := u.write
	if h.Typeflag == tar.TypeGNUSparse {
		write = u.writeSparse
	}
	if err := write(fd, h.Size, content); err != nil {
		return err
	}
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Fchmod(fd, uint32(h.Mode)); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	if err := u.attributes(records, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }); err != nil {
		return err
	}
	return setTime(fd, h.ModTime)
}

// hardLink makes a second name for a file. Owner, mode, attributes and time are those
// of the last entry.
func (u *unpacker) hardLink(dir int, base string, h *tar.Header, records map[string]string) error {
	if h.Linkname == "." {
		return errors.New("a hard link to the root directory")
	}
	from, name := u.tree.root, h.Linkname
	if parent, last := split(h.Linkname); parent != "" {
		fd, err := u.tree.open(parent, false)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		from, name = fd, last
	}
	err := u.replace(dir, base, func() error { return unix.Linkat(from, name, dir, base, 0) })
	if err != nil {
		return fmt.Errorf("link to %s: %w", quote(h.Linkname), err)
	}
	return u.dress(dir, base, h, records)
}

// dress sets the owner, mode, attributes and time of a file that is not a directory, by its
// name. The owner is changed only if it differs: the file may have other names, and
// chown(2) would remove its capabilities.
func (u *unpacker) dress(dir int, base string, h *tar.Header, records map[string]string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	kind := st.Mode & unix.S_IFMT
	// The calls for attributes take a path only. The thread's working directory is its own.
	if err := unix.Fchdir(dir); err != nil {
		return err
	}
	if st.Uid != uint32(h.Uid) || st.Gid != uint32(h.Gid) {
		if err := chownKeeping(dir, base, h.Uid, h.Gid); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
	}
	if kind != unix.S_IFLNK {
		if err := unix.Fchmodat(dir, base, uint32(h.Mode), 0); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	err := u.attributes(records, func(name string, value []byte) error {
		// The kernel has no user attributes for these (xattr(7)). Docker ignores them as well.
		if strings.HasPrefix(name, "user.") && kind != unix.S_IFREG {
			return nil
		}
		return unix.Lsetxattr(base, name, value, 0)
	})
	if err != nil || h.Typeflag == tar.TypeLink && kind == unix.S_IFLNK {
		return err
	}
	times := []unix.Timespec{timespec(h.ModTime), timespec(h.ModTime)}
	return unix.UtimesNanoAt(dir, base, times, unix.AT_SYMLINK_NOFOLLOW)
}

// chownKeeping changes the owner of a file in the working directory, and keeps its
// capabilities.
func chownKeeping(dir int, base string, uid, gid int) error {
	const capability = "security.capability"
	var value [64]byte
	n, err := unix.Lgetxattr(base, capability, value[:])
	if chown := unix.Fchownat(dir, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); chown != nil || err != nil {
		return chown
	}
	return unix.Lsetxattr(base, capability, value[:n], 0)
}

// attributes sets the extended attributes of an entry's PAX records, except those that
// are not supported, as Docker does.
func (u *unpacker) attributes(records map[string]string, set func(name string, value []byte) error) error {
	for record, value := range records {
		name, ok := strings.CutPrefix(record, xattrRecord)
		if !ok || !u.ids.takes(name) {
			continue
		}
		size := uint64(len(value) + blockSize)
		if err := u.room.more(size, size/1024); err != nil { // tmpfs counts attributes as inodes since Linux 6.6
			return err
		}
		err := set(name, []byte(value))
		if errors.Is(err, unix.ENOTSUP) { // of the file system, or of the kernel
			u.noteUnsupported(name)
			continue
		}
		if err != nil {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// maxUnsupported is how many names of attributes are kept for warnings.
const maxUnsupported = 8

func (u *unpacker) noteUnsupported(attribute string) {
	if len(u.unsupported) < maxUnsupported && !slices.Contains(u.unsupported, attribute) {
		u.unsupported = append(u.unsupported, strings.Clone(attribute))
	}
}

// setTime sets the times of an open file.
func setTime(fd int, t time.Time) error {
	times := [2]unix.Timespec{timespec(t), timespec(t)}
	// No path: utimensat(2), "C library/kernel ABI differences".
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("utimensat", errno)
	}
	return nil
}

// timespec returns a time for the kernel. As with Docker it is 1970 for times before that,
// and for those whose nanoseconds do not fit into an int64.
func timespec(t time.Time) unix.Timespec {
	if t.Unix() < 0 || t.After(time.Unix(0, 1<<63-1)) {
		t = time.Unix(0, 0)
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}
