package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

const (
	xattrRecord    = "SCHILY.xattr."    // PAX record of an extended attribute, as GNU tar, Docker and Go write it
	overlayPrivate = "trusted.overlay." // overlayfs's own attributes

	// maxXattrBytes bounds what an inspector remembers. A Debian has 20 bytes of
	// it, for ping.
	maxXattrBytes = 64 << 20
)

// inspector reads a layer's headers as they are unpacked: it refuses what must
// not be there, and remembers what has to be seen to afterwards.
type inspector struct {
	root       *tar.Header                  // the entry "./", or nil
	xattrs     map[string]map[string]string // name → attribute → value
	xattrBytes int
}

func newInspector() *inspector { return &inspector{xattrs: map[string]map[string]string{}} }

// inspect reads the tar.
func (i *inspector) inspect(r io.Reader) error {
	end := &endReader{Reader: r}
	tr := tar.NewReader(end)
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := i.entry(header); err != nil {
			return err
		}
	}
	if end.ended {
		return errTruncated
	}
	return nil
}

func (i *inspector) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := checkEntryName(h.Name); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink && hasDotDot(h.Linkname) {
		return fmt.Errorf("the hard link %q leads outside, to %q", h.Name, h.Linkname)
	}
	name := path.Clean(h.Name)
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return fmt.Errorf("the root folder's entry %q is not a folder", h.Name)
		}
		i.root = h
	}
	return i.remember(name, h)
}

func checkEntryName(name string) error {
	switch {
	case name == "":
		return errors.New("an entry has no name")
	case strings.HasPrefix(name, "/"):
		return fmt.Errorf("the entry %q is an absolute path", name)
	case hasDotDot(name):
		return fmt.Errorf("the entry %q leads outside", name)
	}
	return nil
}

func hasDotDot(name string) bool { return slices.Contains(strings.Split(name, "/"), "..") }

// remember keeps the entry's extended attributes. A later entry of the same
// name replaces the file, and so what is expected of it.
func (i *inspector) remember(name string, h *tar.Header) error {
	delete(i.xattrs, name)
	for record, value := range h.PAXRecords {
		attribute, ok := strings.CutPrefix(record, xattrRecord)
		if !ok {
			continue
		}
		if strings.HasPrefix(attribute, overlayPrivate) {
			return fmt.Errorf("the entry %q sets %s, which is overlayfs's own", h.Name, attribute)
		}
		if i.xattrBytes += len(name) + len(attribute) + len(value); i.xattrBytes > maxXattrBytes {
			return errors.New("the extended attributes are larger than 64 MiB")
		}
		if i.xattrs[name] == nil {
			i.xattrs[name] = map[string]string{}
		}
		i.xattrs[name][attribute] = value
	}
	return nil
}

// finish gives dir the mode, owner, times and attributes of the tar's own root
// folder (0755 and root without one), and checks that each extended attribute
// is there: go-archive drops one that the kernel refuses with EPERM.
func (i *inspector) finish(dir string) error {
	for name, attributes := range i.xattrs {
		for attribute, value := range attributes {
			if err := i.checkXattr(dir, name, attribute, value); err != nil {
				return err
			}
		}
	}
	if i.root == nil {
		return os.Chmod(dir, 0o755)
	}
	if err := os.Chown(dir, i.root.Uid, i.root.Gid); err != nil {
		return err
	}
	if err := unix.Chmod(dir, uint32(i.root.Mode&0o7777)); err != nil {
		return &os.PathError{Op: "chmod", Path: dir, Err: err}
	}
	return os.Chtimes(dir, i.root.ModTime, i.root.ModTime)
}

func (i *inspector) checkXattr(dir, name, attribute, value string) error {
	if name == "." {
		if err := unix.Setxattr(dir, attribute, []byte(value), 0); err != nil {
			return fmt.Errorf("extended attribute %s of %q: %w", attribute, name, err)
		}
		return nil
	}
	parent, err := securejoin.SecureJoin(dir, filepath.Dir(name))
	if err != nil {
		return err
	}
	target := filepath.Join(parent, filepath.Base(name))
	got := make([]byte, len(value)+1)
	n, err := unix.Lgetxattr(target, attribute, got)
	if err == nil && string(got[:n]) != value {
		err = errors.New("it was not kept")
	}
	if errors.Is(err, unix.ENODATA) {
		err = errors.New("the kernel or the store's file system refuses it")
	}
	if err != nil {
		return fmt.Errorf("extended attribute %s of %q: %w", attribute, name, err)
	}
	return nil
}
