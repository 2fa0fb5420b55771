package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// packLayer writes a tar of an unpacked layer that has no record of its own tar. The
// same directory always gives the same tar: entries are sorted by name, in the PAX
// format, with whiteouts as in the image-spec (layer.md) and without the names of users.
func packLayer(w io.Writer, dir string) error {
	p := packer{out: tar.NewWriter(w), dir: dir, linked: map[uint64]string{}}
	err := filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return p.add(file, "."+file[len(dir):])
	})
	if err != nil {
		return err
	}
	return p.out.Close()
}

type packer struct {
	out    *tar.Writer
	dir    string
	linked map[uint64]string // inode of a file with several names → its first name
}

// add writes the entry of a file, and the file's content.
func (p *packer) add(file, name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: file, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFCHR && st.Rdev == 0 {
		return p.out.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: path.Join(path.Dir(name), whiteoutPrefix+path.Base(name)), Mode: 0o600,
			ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
		})
	}
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	opaque, err := p.attributes(h, file)
	if err != nil {
		return err
	}
	switch first := p.linked[st.Ino]; {
	case kind == unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case first != "":
		h.Typeflag, h.Linkname = tar.TypeLink, first
	case kind == unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case kind == unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
	case kind == unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case kind == unix.S_IFCHR, kind == unix.S_IFBLK:
		h.Typeflag = map[bool]byte{true: tar.TypeChar, false: tar.TypeBlock}[kind == unix.S_IFCHR]
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return &os.PathError{Op: "pack", Path: file, Err: errors.New("a socket cannot be in a layer")}
	}
	if st.Nlink > 1 && kind != unix.S_IFDIR && p.linked[st.Ino] == "" {
		p.linked[st.Ino] = name
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	switch {
	case opaque:
		return p.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: h.Name + opaqueWhiteout, Mode: 0o600, ModTime: h.ModTime, Format: tar.FormatPAX})
	case h.Size > 0:
		return copyFile(p.out, p.dir, name, uint64(h.Size))
	}
	return nil
}

// attributes adds the extended attributes of a file to its header, except those of
// overlayfs, and reports whether it is an opaque directory.
func (p *packer) attributes(h *tar.Header, file string) (opaque bool, err error) {
	names, err := xattrList(file)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(file, name, value)
		switch {
		case errors.Is(err, unix.ENODATA):
			continue
		case err != nil:
			return false, &os.PathError{Op: "lgetxattr", Path: file, Err: err}
		case name == overlayPrefix()+"opaque":
			opaque = true
		case !strings.HasPrefix(name, overlayPrefix()):
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords[xattrRecord+name] = string(value[:n])
		}
	}
	return opaque, nil
}

// xattrList returns the names of a file's extended attributes.
func xattrList(file string) ([]string, error) {
	size, err := unix.Llistxattr(file, nil)
	if err != nil || size == 0 {
		if errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
		return nil, err
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(file, list); err != nil {
		return nil, &os.PathError{Op: "llistxattr", Path: file, Err: err}
	}
	var names []string
	for name := range bytes.SplitSeq(bytes.TrimRight(list[:size], "\x00"), []byte{0}) {
		names = append(names, string(name))
	}
	return names, nil
}
