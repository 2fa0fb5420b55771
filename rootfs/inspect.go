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
	whiteoutPrefix = ".wh." // image-spec, layer.md

	xattrRecord    = "SCHILY.xattr."    // PAX record of an extended attribute, as GNU tar, Docker and Go write it
	overlayPrivate = "trusted.overlay." // overlayfs's own attributes

	// maxXattrBytes bounds what an inspector remembers. A Debian has 20 bytes of
	// it, for ping.
	maxXattrBytes = 64 << 20
)

// inspector reads a layer's tar before go-archive does. It refuses what must
// not be there, and remembers what has to be seen to afterwards.
type inspector struct {
	in  *gate
	out io.Writer
	dir string

	lastSize   int64                        // of the entry before, which may not be written yet
	root       *tar.Header                  // the entry "./", or nil
	xattrs     map[string]map[string]string // name → attribute → value
	xattrBytes int
	isFolder   map[string]bool // by name, of what was made so far
	throughs   bool            // something was made by way of a symbolic link
}

func newInspector(r io.Reader, out io.Writer, dir string) *inspector {
	return &inspector{
		in: &gate{Reader: r}, out: out, dir: dir,
		xattrs: map[string]map[string]string{}, isFolder: map[string]bool{},
	}
}

// gate keeps what is read until it is let through.
type gate struct {
	io.Reader
	held  []byte
	ended bool // the stream was asked for more than it had
}

func (g *gate) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	g.held = append(g.held, p[:n]...)
	g.ended = g.ended || n == 0 && errors.Is(err, io.EOF)
	return n, err
}

// pass writes what was held. As a writer, the inspector is where an entry's
// content ends: it has come through the gate already.
func (i *inspector) pass() error {
	_, err := i.out.Write(i.in.held)
	i.in.held = i.in.held[:0]
	return err
}

func (i *inspector) Write(p []byte) (int, error) { return len(p), i.pass() }

// inspect reads the tar up to its end, and passes on each header once it is
// found good.
func (i *inspector) inspect() error {
	tr := tar.NewReader(i.in)
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = i.entry(header)
		}
		if err == nil {
			_, err = io.Copy(i, tr)
		}
		if err != nil {
			return err
		}
	}
	if i.in.ended {
		return errTruncated
	}
	return i.pass()
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
	// A sparse file has its size in the header and nothing in the stream.
	if err := checkSpace(i.dir, uint64(h.Size)+uint64(i.lastSize)); err != nil {
		return fmt.Errorf("the entry %q of %d bytes: %w", h.Name, h.Size, err)
	}
	i.lastSize = h.Size
	name := path.Clean(h.Name)
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return fmt.Errorf("the root folder's entry %q is not a folder", h.Name)
		}
		i.root = h
	} else if err := i.place(name, h); err != nil {
		return err
	}
	return i.remember(name, h)
}

// place keeps a map of what there is. go-archive opens the folder that a
// whiteout is in, and would open whatever is there: a FIFO, which waits forever,
// or a device node, which does what opening that device does to the host. So
// each part of a whiteout's path must be a folder. Since a name that goes
// through a symbolic link makes the map wrong, no whiteout may follow one.
func (i *inspector) place(name string, h *tar.Header) error {
	whiteout := strings.HasPrefix(path.Base(name), whiteoutPrefix)
	for at, c := range name {
		if c != '/' {
			continue
		}
		folder, known := i.isFolder[name[:at]]
		if !known {
			i.isFolder[name[:at]] = true
		} else if !folder {
			i.throughs = true
		}
	}
	switch {
	case whiteout && i.throughs:
		return fmt.Errorf("the whiteout %q comes after an entry that goes through a link", h.Name)
	case whiteout:
		i.isFolder[path.Join(path.Dir(name), strings.TrimPrefix(path.Base(name), whiteoutPrefix))] = false
	default:
		i.isFolder[name] = h.Typeflag == tar.TypeDir
	}
	return nil
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

// finish gives dir the mode, owner, time and attributes of the tar's own root
// folder (0755 and root's without one), which go-archive leaves out. It also
// sees to it that each extended attribute is there: go-archive goes on without
// one that the kernel refuses with EPERM, and its chown(2) for a second hard link
// takes a file's capabilities away.
func (i *inspector) finish(dir string) error {
	for name, attributes := range i.xattrs {
		path, err := inLayer(dir, name)
		if err != nil {
			return err
		}
		for attribute, value := range attributes {
			if err := ensureXattr(path, attribute, value); err != nil {
				return fmt.Errorf("extended attribute %s of %q: %w", attribute, name, err)
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

// inLayer is where a name lies, with the links of the layer understood as in a
// chroot. The last part is not followed.
func inLayer(dir, name string) (string, error) {
	parent, err := securejoin.SecureJoin(dir, filepath.Dir(name))
	return filepath.Join(parent, filepath.Base(name)), err
}

func ensureXattr(path, attribute, value string) error {
	got := make([]byte, len(value)+1)
	n, err := unix.Lgetxattr(path, attribute, got)
	if err == nil && string(got[:n]) == value {
		return nil
	}
	return unix.Lsetxattr(path, attribute, []byte(value), 0)
}
