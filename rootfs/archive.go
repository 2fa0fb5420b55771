package rootfs

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
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
	c.names, c.stamp, c.warn = []string{r.String()}, stamp, r.warn
	return s.addFor(ctx, r, c)
}

// content opens the file of a reference; work is a directory for what has to be
// extracted from it.
func (r reference) content(ctx context.Context, want v1.Platform, work string) (*content, error) {
	kind := r.transport
	if kind == tarball {
		var err error
		if kind, err = detect(r.path); err != nil {
			return nil, err
		}
	}
	switch kind {
	case dockerArchive:
		return fromDockerArchive(r.path, r.tag)
	case ociLayout:
		return fromLayout(r.path, r.tag, want)
	case ociArchive:
		if err := extractLayout(ctx, r.path, work); err != nil {
			return nil, err
		}
		return fromLayout(work, r.tag, want)
	}
	return fromRootTarball(r.path, want)
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

// isSavedName reports whether a name is that of a file of a saved image, not of a
// root: blobs, and what older tools name after a digest.
func isSavedName(entry string) bool {
	first, _, _ := strings.Cut(entry, "/")
	switch first {
	case ".", "blobs", "index.json", "repositories":
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
			return fmt.Errorf("not a tarball, or truncated: %w", err)
		}
	}
}

// fromRootTarball reads a root file system. It has no platform, so it is taken to be
// for the one that is wanted.
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

// savedImage is an entry of manifest.json in what docker save wrote
// (moby, image/spec/v1.2.md).
type savedImage struct {
	Config           string
	RepoTags, Layers []string
}

// fromDockerArchive reads what docker save wrote. The archive has no manifest, so one
// is made from the layers' diffIDs.
func fromDockerArchive(file, tag string) (*content, error) {
	images, err := savedImages(file)
	if err != nil {
		return nil, err
	}
	saved, err := chooseSaved(images, tag)
	if err != nil {
		return nil, err
	}
	return fromSaved(file, saved)
}

// savedImages reads manifest.json of what docker save wrote.
func savedImages(file string) ([]savedImage, error) {
	data, err := readMember(file, "manifest.json", "manifest", maxManifest)
	if err != nil {
		return nil, err
	}
	var images []savedImage
	if err := json.Unmarshal(data, &images); err != nil {
		return nil, fmt.Errorf("read manifest.json: %w", err)
	}
	return images, nil
}

// fromSaved reads one image of what docker save wrote.
func fromSaved(file string, saved savedImage) (*content, error) {
	c := &content{}
	var err error
	if c.config, err = readMember(file, saved.Config, "configuration", maxConfig); err != nil {
		return nil, err
	}
	config, err := parseConfig(c.config)
	if err != nil {
		return nil, err
	}
	if len(saved.Layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("manifest.json has %d layers, the configuration %d", len(saved.Layers), len(config.RootFS.DiffIDs))
	}
	for i, diffID := range config.RootFS.DiffIDs {
		c.layers = append(c.layers, layerSource{
			diffID: diffID,
			open:   func(context.Context) (io.ReadCloser, error) { return openMember(file, saved.Layers[i], 0) },
		})
	}
	return c, nil
}

// chooseSaved returns the image with a tag, or the only image if tag is empty.
func chooseSaved(images []savedImage, tag string) (savedImage, error) {
	if tag == "" {
		if len(images) != 1 {
			return savedImage{}, fmt.Errorf("the archive has %d images: choose one with docker-archive:PATH:NAME", len(images))
		}
		return images[0], nil
	}
	wanted, err := name.NewTag(tag)
	if err != nil {
		return savedImage{}, err
	}
	for _, image := range images {
		for _, has := range image.RepoTags {
			if parsed, err := name.NewTag(has); err == nil && parsed.Name() == wanted.Name() {
				return image, nil
			}
		}
	}
	return savedImage{}, fmt.Errorf("no image has the name %s", quote(tag))
}

func readMember(file, member, what string, limit int64) ([]byte, error) {
	r, err := openMember(file, member, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readLimited(r, what, limit)
}

// maxMemberLinks is how many links are followed to a file of a tarball. Before Docker
// 25, docker save wrote a link for a layer that two images share.
const maxMemberLinks = 8

// openMember opens a file of a tarball, after following so many links.
func openMember(file, member string, links int) (io.ReadCloser, error) {
	plain, err := openPlain(file)
	if err != nil {
		return nil, err
	}
	tr := tar.NewReader(plain)
	h, err := tr.Next()
	for err == nil && path.Clean(h.Name) != path.Clean(member) {
		h, err = tr.Next()
	}
	if err == nil && h.Typeflag == tar.TypeReg {
		return &plainFile{io.NopCloser(tr), plain}, nil
	}
	_ = plain.Close()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the archive has no file %s", quote(member))
	case err != nil:
		return nil, fmt.Errorf("not a tarball, or truncated: %w", err)
	case links == maxMemberLinks:
		return nil, fmt.Errorf("%s leads through more than %d links", quote(member), maxMemberLinks)
	case h.Typeflag == tar.TypeSymlink:
		return openMember(file, path.Join(path.Dir(member), h.Linkname), links+1)
	case h.Typeflag == tar.TypeLink:
		return openMember(file, h.Linkname, links+1)
	}
	return nil, fmt.Errorf("%s in the archive is not a regular file", quote(member))
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
