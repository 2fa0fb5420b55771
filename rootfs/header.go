package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"strings"
)

const (
	whiteoutPrefix = ".wh."         // image-spec, layer.md
	opaqueWhiteout = ".wh..wh..opq" // image-spec, layer.md
	typeWhiteout   = 0xff           // of a header from plainHeader: a character device 0:0 for overlayfs

	maxName  = 4096               // bytes of a name: PATH_MAX
	maxOwner = math.MaxUint32 - 1 // chown(2) understands the next one as "unchanged"
	maxMajor = 1<<12 - 1          // of a device number (Linux, include/linux/kdev_t.h)
	maxMinor = 1<<20 - 1
)

// plainHeader checks the header of an entry and returns the parts that are used, with
// names below the root. A whiteout becomes the device that overlayfs uses for it.
func plainHeader(h *tar.Header) (*tar.Header, error) {
	name, err := nameInRoot(h.Name)
	if err != nil {
		return nil, fmt.Errorf("an entry's name: %w", err)
	}
	if h.Uid < 0 || h.Uid > maxOwner || h.Gid < 0 || h.Gid > maxOwner {
		return nil, fmt.Errorf("the entry %s belongs to %d:%d; the highest user and group is %d", quote(name), h.Uid, h.Gid, maxOwner)
	}
	plain := &tar.Header{
		Typeflag: h.Typeflag, Name: name, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid,
		ModTime: h.ModTime,
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		plain.Typeflag, plain.Size = tar.TypeReg, h.Size
		if isSparse(h) {
			plain.Typeflag = tar.TypeGNUSparse
		}
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeLink:
		if plain.Linkname, err = nameInRoot(h.Linkname); err != nil {
			return nil, fmt.Errorf("the target of the hard link %s: %w", quote(name), err)
		}
	case tar.TypeSymlink:
		plain.Linkname = h.Linkname
		if len(h.Linkname) > maxName {
			return nil, fmt.Errorf("the link %s: %w", quote(name), &limitError{"target", maxName})
		}
	case tar.TypeChar, tar.TypeBlock:
		plain.Devmajor, plain.Devminor = h.Devmajor, h.Devminor
		if h.Devmajor < 0 || h.Devmajor > maxMajor || h.Devminor < 0 || h.Devminor > maxMinor {
			return nil, fmt.Errorf("the device %s: invalid device number %d:%d", quote(name), h.Devmajor, h.Devminor)
		}
	default:
		return nil, fmt.Errorf("the entry %s has the unknown type %q", quote(name), h.Typeflag)
	}
	return plain, asWhiteout(plain)
}

// isSparse reports whether an entry has holes, in one of GNU tar's formats (GNU tar,
// "Storing Sparse Files"): its size in the tar is less than that of the file.
func isSparse(h *tar.Header) bool {
	return h.Typeflag == tar.TypeGNUSparse || h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.size"] != ""
}

// nameInRoot returns a name relative to the root, or an error if it leads out of the
// root.
func nameInRoot(name string) (string, error) {
	if name == "" {
		return "", errors.New("it is empty")
	}
	if len(name) > maxName {
		return "", fmt.Errorf("%s: %w", quote(name), &limitError{"name", maxName})
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if !filepath.IsLocal(clean) {
		return "", fmt.Errorf("%s leads out of the root", quote(name))
	}
	return strings.Clone(clean), nil // not a part of a larger header
}

// asWhiteout turns a whiteout into a character device 0:0, of typeWhiteout (Linux,
// Documentation/filesystems/overlayfs.rst), except [opaqueWhiteout].
func asWhiteout(h *tar.Header) error {
	dir, base := path.Split(h.Name)
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	if !ok || base == opaqueWhiteout {
		return nil
	}
	if hidden == "" || hidden == "." || hidden == ".." {
		return fmt.Errorf("the whiteout %s has no name", quote(h.Name))
	}
	*h = tar.Header{Typeflag: typeWhiteout, Name: dir + hidden, ModTime: h.ModTime}
	return nil
}
