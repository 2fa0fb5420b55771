// Package treetar copies trees of files as tar streams, by file descriptors: neither side
// follows a symbolic link below the directory that it was given, whatever another program
// does to the tree meanwhile.
package treetar

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Write writes the tree at fd, which may have been opened with O_PATH, as name: a directory
// with all below it, or one file. The name may be ".". A further name of an inode becomes a
// hard link. Sockets are left out. Nothing except regular files and directories is opened.
func Write(w *tar.Writer, fd int, name string) error {
	t := writer{tar: w, seen: map[inode]string{}}
	return t.write(fd, name)
}

type inode struct{ dev, ino uint64 }

type writer struct {
	tar  *tar.Writer
	seen map[inode]string
}

func (t *writer) write(fd int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	h, err := header(fd, name, &st)
	if err != nil || h == nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		if err := t.tar.WriteHeader(h); err != nil {
			return err
		}
		return t.below(fd, name)
	}
	if id := (inode{uint64(st.Dev), st.Ino}); st.Nlink > 1 { //nolint:unconvert // 32 bits on mips
		if first, ok := t.seen[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return t.tar.WriteHeader(h)
		}
		t.seen[id] = name
	}
	if h.Typeflag != tar.TypeReg {
		return t.tar.WriteHeader(h)
	}
	return t.file(fd, h)
}

// header describes a file, except for its content. It returns nil for a socket.
func header(fd int, name string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), Format: tar.FormatPAX,
		ModTime: time.Unix(st.Mtim.Unix()),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
		value := make([]byte, 64)
		if n, err := unix.Getxattr(descriptor(fd), capability, value); err == nil {
			h.PAXRecords = map[string]string{xattrRecord + capability: string(value[:n])}
		}
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", target)
		if err != nil {
			return nil, &os.PathError{Op: "readlink", Path: name, Err: err}
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(target[:n])
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev))) //nolint:unconvert // 32 bits on mips
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, nil
	}
	return h, nil
}

// The attribute with a program's capabilities (capabilities(7)) is copied, as docker does,
// and no other.
const (
	capability  = "security.capability"
	xattrRecord = "SCHILY.xattr."
)

// descriptor returns a path that leads to an open file, whatever name that has.
func descriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (t *writer) file(fd int, h *tar.Header) error {
	f, err := os.Open(descriptor(fd))
	if err != nil {
		return &os.PathError{Op: "open", Path: h.Name, Err: errors.Unwrap(err)}
	}
	defer f.Close()
	if err := t.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(t.tar, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		err = errors.New("it became shorter while it was read")
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", h.Name, err)
	}
	return nil
}

// below writes what is in a directory, in the order of the names.
func (t *writer) below(fd int, name string) error {
	dir, err := os.Open(descriptor(fd))
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: errors.Unwrap(err)}
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, base := range names {
		child, err := unix.Openat(int(dir.Fd()), base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue // it is gone
		}
		if err != nil {
			return &os.PathError{Op: "open", Path: name + "/" + base, Err: err}
		}
		err = t.write(child, name+"/"+base)
		unix.Close(child)
		if err != nil {
			return err
		}
	}
	return nil
}
