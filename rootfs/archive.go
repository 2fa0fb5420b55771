package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// load reads an image from a file or an OCI layout into the store.
func (s *Store) load(ctx context.Context, r request) (*ImageInfo, error) {
	stamp, err := r.stamp(ctx)
	if err != nil {
		return nil, err
	}
	if r.transport == tarball {
		if info, err := s.reuse(ctx, r, stamp); info != nil || err != nil {
			return info, err
		}
	}
	work, err := s.newWorkDir()
	if err != nil {
		return nil, err
	}
	defer func() { _ = work.remove() }() // the next sweep removes what is left
	var c *content
	if r.transport == dockerDaemon {
		c, err = fromDaemon(ctx, stamp, work.join("image.tar"))
	} else {
		c, err = r.content(ctx, r.want, work.path)
	}
	if err != nil {
		return nil, err
	}
	c.names, c.stamp = []string{r.String()}, stamp
	return s.addFor(ctx, r, c)
}

// content opens the file of a reference; work is a directory for what has to be
// extracted from it.
func (r reference) content(ctx context.Context, want v1.Platform, work string) (*content, error) {
	if r.transport == ociLayout {
		return fromLayout(r.path, r.tag, want)
	}
	kind, file := r.transport, r.path
	saved := kind != tarball
	var err error
	if !saved {
		saved, err = startsLikeSaved(file)
	}
	if saved && err == nil {
		file, err = plainCopy(ctx, file, work)
	}
	if kind == tarball && err == nil {
		kind, err = detect(file)
	}
	if err != nil {
		return nil, err
	}
	switch kind {
	case dockerArchive:
		return fromDockerArchive(file, r.tag)
	case ociArchive:
		if err := extractLayout(ctx, file, work); err != nil {
			return nil, err
		}
		return fromLayout(work, r.tag, want)
	}
	return fromRootTarball(r.path, want)
}

// startsLikeSaved reports whether the first file of a tarball is one of a saved image.
func startsLikeSaved(file string) (saved bool, err error) {
	err = walkTarball(file, func(h *tar.Header, _ io.Reader) error {
		entry := path.Clean(h.Name)
		if entry == "." {
			return nil
		}
		saved = isSavedName(entry)
		return errStop
	})
	return saved, err
}

// plainCopy returns a file that is not compressed: file itself, or a copy in the directory
// work. The members of an archive are read by their offsets, which a compressed file does
// not allow.
func plainCopy(ctx context.Context, file, work string) (string, error) {
	r, err := openPlain(file)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if _, ok := r.(*os.File); ok {
		return file, nil
	}
	plain := filepath.Join(work, "plain.tar")
	return plain, explainStream(spool(ctx, r, plain))
}

// detect returns what kind of tarball a file is, by the names in it. docker save
// writes manifest.json, and since Docker 25 the files of an OCI layout as well.
func detect(file string) (transport, error) {
	kind := tarball
	err := walkTarball(file, func(h *tar.Header, _ io.Reader) error {
		entry := path.Clean(h.Name)
		switch {
		case entry == "manifest.json":
			kind = dockerArchive
			return errStop
		case entry == "oci-layout":
			kind = ociArchive
		case !isSavedName(entry):
			return errStop
		}
		return nil
	})
	return kind, err
}

// isSavedName reports whether a name in a tarball is one that saved images have, and not
// root file systems: one of those of docker save and of OCI layouts, or, from older tools,
// a digest.
func isSavedName(entry string) bool {
	first, _, _ := strings.Cut(entry, "/")
	switch first {
	case ".", "blobs", "index.json", "manifest.json", "oci-layout", "repositories":
		return true
	}
	first = strings.TrimPrefix(first, "sha256:")
	return len(first) >= digestLength && isHex(first[:digestLength])
}

var errStop = errors.New("stop")

// walkTarball calls visit for each entry of a tarball, compressed or not, until
// it returns errStop.
func walkTarball(file string, visit func(*tar.Header, io.Reader) error) error {
	plain, err := openPlain(file)
	if err != nil {
		return err
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if err == nil {
			err = visit(h, tr)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return explainStream(err)
		}
	}
}

// fromRootTarball returns the content of a tarball of a root file system. Nothing in it
// names a platform, so it is taken to be for the wanted one.
func fromRootTarball(file string, want v1.Platform) (*content, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	return &content{
		base: configFile{Architecture: want.Architecture, OS: want.OS, Variant: want.Variant},
		layers: []layerSource{{
			size: info.Size(), whole: true,
			open: func(context.Context) (io.ReadCloser, error) { return os.Open(file) },
		}},
	}, nil
}

// openPlain opens a file and decompresses it if it is compressed. A plain file is
// returned itself, because archive/tar can seek in it.
func openPlain(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, magicSize)
	n, _ := io.ReadFull(f, magic)
	if _, err = f.Seek(0, io.SeekStart); err == nil && detectCompression(magic[:n]) == uncompressed {
		return f, nil
	}
	var plain io.ReadCloser
	if err == nil {
		plain, err = decompress(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &plainFile{plain, f}, nil
}

type plainFile struct {
	io.ReadCloser
	file io.Closer
}

func (p *plainFile) Close() error { return errors.Join(p.ReadCloser.Close(), p.file.Close()) }

// extractLayout extracts the files of an OCI layout from a tarball.
func extractLayout(ctx context.Context, file, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		return err
	}
	return walkTarball(file, func(h *tar.Header, r io.Reader) error {
		entry := path.Clean(h.Name)
		hex, isBlob := strings.CutPrefix(entry, "blobs/sha256/")
		isBlob = isBlob && len(hex) == digestLength && isHex(hex)
		if h.Typeflag != tar.TypeReg || !isBlob && entry != "oci-layout" && entry != "index.json" {
			return nil
		}
		if err := checkSpace(dir, blockSize, 1); err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(dir, entry), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, &spaceGuard{Reader: &cancelReader{ctx, r}, dir: dir})
		return errors.Join(err, f.Close())
	})
}
