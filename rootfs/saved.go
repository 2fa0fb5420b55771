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

	"github.com/google/go-containerregistry/pkg/name"
)

// savedImage is an entry of manifest.json in what docker save wrote
// (moby, image/spec/v1.2.md).
type savedImage struct {
	Config           string
	RepoTags, Layers []string
}

// fromDockerArchive reads what docker save wrote, which is not compressed. The archive
// has no manifest, so one is made from the layers' diffIDs.
func fromDockerArchive(file, tag string) (*content, error) {
	archive, err := openSaved(file)
	if err != nil {
		return nil, err
	}
	saved, err := chooseSaved(archive.images, tag)
	if err != nil {
		return nil, err
	}
	return archive.content(saved)
}

// savedArchive is what docker save wrote, a tar that is not compressed.
type savedArchive struct {
	file    string
	images  []savedImage
	members map[string]member
}

// member is a file or a link of an archive.
type member struct {
	kind         byte // of tar.Header
	link         string
	offset, size int64 // of its content in the archive
}

// maxMembers is how many files an archive may have: three for a layer, and some for an
// image.
const maxMembers = 100_000

// openSaved reads the names of an archive's files, in one pass, and manifest.json.
func openSaved(file string) (*savedArchive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a := &savedArchive{file: file, members: map[string]member{}}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, explainStream(err)
		}
		name := path.Clean(h.Name)
		if _, again := a.members[name]; again {
			continue
		}
		if len(a.members) == maxMembers {
			return nil, fmt.Errorf("the archive has more than %d files", maxMembers)
		}
		offset, err := f.Seek(0, io.SeekCurrent) // archive/tar does not read ahead
		if err != nil {
			return nil, err
		}
		m := member{kind: h.Typeflag, offset: offset, size: h.Size}
		switch {
		case isSparse(h):
			m.kind = tar.TypeGNUSparse
		case h.Typeflag == tar.TypeSymlink:
			m.link = path.Join(path.Dir(name), h.Linkname)
		case h.Typeflag == tar.TypeLink:
			m.link = path.Clean(h.Linkname)
		}
		a.members[name] = m
	}
	data, err := a.read("manifest.json", "manifest", maxManifest)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &a.images); err != nil {
		return nil, fmt.Errorf("read manifest.json: %w", err)
	}
	return a, nil
}

// content returns one image of an archive.
func (a *savedArchive) content(saved savedImage) (*content, error) {
	c := &content{}
	var err error
	if c.config, err = a.read(saved.Config, "configuration", maxConfig); err != nil {
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
			open:   func(context.Context) (io.ReadCloser, error) { return a.open(saved.Layers[i]) },
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

func (a *savedArchive) read(name, what string, limit int64) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readLimited(r, what, limit)
}

// maxMemberLinks is how many links are followed to a file of an archive. Before Docker
// 25, docker save wrote a link for a layer that two images share.
const maxMemberLinks = 8

// open opens a file of an archive.
func (a *savedArchive) open(name string) (io.ReadCloser, error) {
	m, ok := a.members[path.Clean(name)]
	for links := 0; ok && m.link != ""; links++ {
		if links == maxMemberLinks {
			return nil, fmt.Errorf("%s leads through more than %d links", quote(name), maxMemberLinks)
		}
		m, ok = a.members[m.link]
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("the archive has no file %s", quote(name))
	case m.kind != tar.TypeReg:
		return nil, fmt.Errorf("%s in the archive is not a regular file", quote(name))
	}
	f, err := os.Open(a.file)
	if err != nil {
		return nil, err
	}
	return &plainFile{io.NopCloser(io.NewSectionReader(f, m.offset, m.size)), f}, nil
}
