package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/hint"
)

func notLayout(err error) error {
	return hint.With(fmt.Errorf("not an OCI layout: %w", err), "an OCI layout is a directory with index.json, oci-layout and blobs")
}

// fromLayout reads an OCI image layout (image-spec, image-layout.md): the entry of its
// index with the name tag, or the one for the platform.
func fromLayout(dir, tag string, want v1.Platform) (*content, error) {
	if err := checkSize(filepath.Join(dir, "index.json"), "index", maxManifest); err != nil {
		return nil, notLayout(err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, notLayout(err)
	}
	image, err := choose(layoutIndex{index, dir}, tag, want, 1)
	if err != nil {
		return nil, explainJSON(err)
	}
	return fromImage(image, openLayer(image))
}

// layoutIndex and layoutImage check the size of a file before the library reads all
// of it.
type (
	anyIndex = v1.ImageIndex

	layoutIndex struct {
		anyIndex
		dir string
	}
	layoutImage struct {
		v1.Image
		dir string
	}
)

func (i layoutIndex) ImageIndex(digest v1.Hash) (v1.ImageIndex, error) {
	if err := checkSize(blobIn(i.dir, digest), "index", maxManifest); err != nil {
		return nil, err
	}
	nested, err := i.anyIndex.ImageIndex(digest)
	return layoutIndex{nested, i.dir}, err
}

func (i layoutIndex) Image(digest v1.Hash) (v1.Image, error) {
	if err := checkSize(blobIn(i.dir, digest), "manifest", maxManifest); err != nil {
		return nil, err
	}
	image, err := i.anyIndex.Image(digest)
	return layoutImage{image, i.dir}, err
}

func (i layoutImage) RawConfigFile() ([]byte, error) {
	m, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	if err := checkSize(blobIn(i.dir, m.Config.Digest), "configuration", maxConfig); err != nil {
		return nil, err
	}
	return i.Image.RawConfigFile()
}

func blobIn(dir string, digest v1.Hash) string {
	return filepath.Join(dir, "blobs", digest.Algorithm, digest.Hex)
}

// checkSize checks that a file is regular and at most limit bytes.
func checkSize(file, what string, limit int64) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hint.With(err, damagedHelp)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return hint.With(&fs.PathError{Op: "read", Path: file, Err: atomicfile.ErrNotRegular}, damagedHelp)
	case info.Size() > limit:
		return &limitError{what, limit}
	}
	return nil
}
