package rootfs

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
)

// segment is how many entries are passed to go-archive as one tar: it keeps the
// headers of directories in memory until the end of the tar.
const segment = 4096

// inspector checks a layer's tar and writes it for go-archive in a plain form: names
// below the root, whiteouts as those of overlayfs, no extended attributes. What
// go-archive cannot do is kept for [aftercare].
type inspector struct {
	in    *endReader
	tar   *recorder
	to    *bufio.Writer
	out   *tar.Writer // the current segment, or nil
	count int         // entries in it

	space *spaceCheck
	after aftercare
}

func newInspector(r *recorder, to io.Writer, dir string) *inspector {
	return &inspector{in: &endReader{Reader: r}, tar: r, to: bufio.NewWriterSize(to, 64<<10), space: &spaceCheck{dir: dir}}
}

// endReader records whether a stream was read to its end.
type endReader struct {
	io.Reader
	ended bool
}

func (r *endReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.ended = r.ended || n == 0 && errors.Is(err, io.EOF)
	return n, err
}

// inspect reads the tar up to its end.
func (i *inspector) inspect() error {
	tr := tar.NewReader(i.in)
	for {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return i.endSegment()
		case errors.Is(err, tar.ErrFieldTooLong):
			return fmt.Errorf("the headers of an entry are larger than 1 MiB: %w", err)
		case err != nil:
			return err
		}
		if err := i.entry(h, tr); err != nil {
			return err
		}
	}
}

func (i *inspector) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // ignored, as Docker does
	}
	plain, err := plainHeader(h)
	if err != nil {
		return err
	}
	if err := i.space.entry(plain); err != nil {
		return fmt.Errorf("the entry %s of %d bytes: %w", quote(plain.Name), plain.Size, err)
	}
	if path.Base(plain.Name) == opaqueWhiteout {
		return i.after.opaque(path.Dir(plain.Name))
	}
	if plain.Name == "." && plain.Typeflag != tar.TypeDir {
		return fmt.Errorf("the root directory's entry %s is not a directory", quote(h.Name))
	}
	if err := i.after.entry(plain, h.PAXRecords); err != nil || plain.Name == "." {
		return err
	}
	i.tar.entry(h, plain)
	return i.write(plain, content)
}

// write passes an entry to go-archive. When it returns, the previous entry has been
// unpacked.
func (i *inspector) write(h *tar.Header, content io.Reader) error {
	if i.count == segment {
		if err := i.endSegment(); err != nil {
			return err
		}
		i.after.inParts = true
	}
	if i.out == nil {
		i.out, i.count = tar.NewWriter(i.to), 0
	}
	i.count++
	if err := i.out.WriteHeader(h); err != nil {
		return fmt.Errorf("the entry %s: %w", quote(h.Name), err)
	}
	if h.Typeflag == tar.TypeReg {
		if _, err := io.Copy(i.out, content); err != nil {
			return err
		}
	}
	if err := i.out.Flush(); err != nil {
		return err
	}
	return i.to.Flush()
}

func (i *inspector) endSegment() error {
	if i.out == nil {
		return nil
	}
	if err := i.out.Close(); err != nil {
		return err
	}
	i.out = nil
	return i.to.Flush()
}
