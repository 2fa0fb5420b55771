package rootfs

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Load adds all images of a file to the store, under the names that they have in it. The
// file is what `docker save` wrote, a tarball of an OCI layout, or the directory of an OCI
// layout. An image without a name is stored under its ID. If an image exists for several
// platforms, the one for o.Platform is added.
//
// Images are added one after another: after an error those before it stay.
func (s *Store) Load(ctx context.Context, file string, o ResolveOptions) ([]ImageInfo, error) {
	return s.loadAs(ctx, file, file, o)
}

// loadAs is Load for a file that errors call name.
func (s *Store) loadAs(ctx context.Context, name, file string, o ResolveOptions) ([]ImageInfo, error) {
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	l := loader{store: s, request: request{reference: reference{transport: tarball, path: file}, want: want, asked: o.Platform != "", ResolveOptions: o}}
	if l.work, err = s.newWorkDir(); err != nil {
		return nil, err
	}
	defer func() { _ = l.work.remove() }() // the next sweep removes what is left
	if err := l.all(ctx); err != nil {
		return l.added, &Error{Op: "load " + name, Err: explainJSON(err)}
	}
	return l.added, nil
}

// streamName is what errors call a stream.
const streamName = "standard input"

// LoadFrom is Load for a stream, such as standard input, which it copies to the store's disk first.
func (s *Store) LoadFrom(ctx context.Context, stream io.Reader, o ResolveOptions) ([]ImageInfo, error) {
	work, err := s.newWorkDir()
	if err != nil {
		return nil, err
	}
	defer func() { _ = work.remove() }()
	file := work.join("stream")
	if err := spool(ctx, stream, file); err != nil {
		return nil, &Error{Op: "load " + streamName, Err: err}
	}
	return s.loadAs(ctx, streamName, file, o)
}

// spool writes a stream to a new file.
func spool(ctx context.Context, stream io.Reader, file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, &spaceGuard{Reader: &cancelReader{ctx, stream}, dir: filepath.Dir(file)})
	return errors.Join(err, f.Close())
}

type loader struct {
	store   *Store
	request request
	work    *workDir
	added   []ImageInfo
}

func (l *loader) all(ctx context.Context) error {
	file := l.request.path
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return l.layout(ctx, file)
	}
	if file, err = plainCopy(ctx, file, l.work.path); err != nil {
		return err
	}
	kind, err := savedKind(file)
	switch {
	case err != nil:
		return err
	case kind == ociArchive:
		dir := l.work.join("layout")
		if err := extractLayout(ctx, file, dir); err != nil {
			return err
		}
		return l.layout(ctx, dir)
	case kind == dockerArchive:
		return l.saved(ctx, file)
	}
	return &Error{Err: errors.New("it has no image: neither index.json nor manifest.json"), Cause: CauseRootTarball}
}

// savedKind returns what kind of saved image a tarball has. An OCI layout has the
// manifests that the images came with, so it is preferred where there are both.
func savedKind(file string) (transport, error) {
	kind := tarball
	err := walkTarball(file, func(h *tar.Header, _ io.Reader) error {
		switch path.Clean(h.Name) {
		case "index.json":
			kind = ociArchive
			return errStop
		case "manifest.json":
			kind = dockerArchive
		}
		return nil
	})
	return kind, err
}

// saved adds the images of what docker save wrote before Docker 25.
func (l *loader) saved(ctx context.Context, file string) error {
	archive, err := openSaved(file)
	if err == nil && len(archive.images) == 0 {
		err = errors.New("the archive has 0 images")
	}
	if err != nil {
		return err
	}
	for _, image := range archive.images {
		c, err := archive.content(image)
		if err == nil {
			err = l.add(ctx, c, image.RepoTags)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// layout adds the images of an OCI layout.
func (l *loader) layout(ctx context.Context, dir string) error {
	if err := checkSize(filepath.Join(dir, "index.json"), "index", maxManifest); err != nil {
		return notLayout(err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return notLayout(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(m.Manifests) == 0 {
		return errors.New("the layout has 0 images")
	}
	images, err := l.chosen(layoutIndex{index, dir}, m.Manifests)
	if err != nil {
		return err
	}
	for _, image := range images {
		c, err := fromImage(image.Image, openLayer(image.Image))
		if err != nil {
			return err
		}
		if err := l.add(ctx, c, image.names); err != nil {
			return err
		}
	}
	return nil
}

// namedImage is an image of a layout with the names that entries give it.
type namedImage struct {
	v1.Image
	digest v1.Hash
	names  []string
}

// chosen returns the images of the entries of an index. Of several entries with the same
// name it takes the one that fits the wanted platform.
func (l *loader) chosen(index v1.ImageIndex, entries []v1.Descriptor) ([]*namedImage, error) {
	var images []*namedImage
	var seen []string
	for _, d := range entries {
		name := cmp.Or(d.Annotations[annotationFullName], d.Annotations[annotationName])
		if d.Platform != nil && d.Platform.OS == "unknown" || d.Annotations[annotationKind] == attestation || name != "" && slices.Contains(seen, name) {
			continue // an attestation of BuildKit, or another platform
		}
		seen = append(seen, name)
		from := index
		if name == "" {
			from = onlyEntry{index, d}
		}
		image, err := choose(from, name, l.request.want, 1)
		if err != nil {
			return nil, err
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(images, func(o *namedImage) bool { return o.digest == digest })
		if i < 0 {
			i, images = len(images), append(images, &namedImage{Image: image, digest: digest})
		}
		if strings.ContainsAny(name, ":/") { // a tag alone is no name
			images[i].names = append(images[i].names, name)
		}
	}
	return images, nil
}

// onlyEntry is an index reduced to one of its entries.
type onlyEntry struct {
	anyIndex
	entry v1.Descriptor
}

func (o onlyEntry) IndexManifest() (*v1.IndexManifest, error) {
	return &v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{o.entry}}, nil
}

// add adds an image under names in the form of `docker tag`, or else under its ID, if
// the store does not have it yet.
func (l *loader) add(ctx context.Context, c *content, names []string) error {
	for _, name := range names {
		r, err := parseName(name)
		if err != nil {
			return err
		}
		c.names = append(c.names, r.String())
	}
	c.local = true
	if info := l.store.known(digestOf(c.config)); len(names) == 0 && info != nil {
		l.added = append(l.added, *info)
		return nil
	}
	info, err := l.store.addFor(ctx, l.request, c)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		l.added = append(l.added, *info)
	}
	for _, name := range c.names {
		info.Name = name
		l.added = append(l.added, *info)
	}
	return nil
}

// known returns the image with this ID, under its ID as its name, if the store has it and
// nothing of it has changed. Otherwise it returns nil.
func (s *Store) known(id string) *ImageInfo {
	x, err := s.readIndex()
	if err != nil {
		return nil
	}
	for _, d := range x.Manifests {
		if d.Annotations[annotationID] == id && s.isWhole(&d) {
			info, err := s.info(&d)
			if err != nil {
				continue
			}
			info.Name = id
			return info
		}
	}
	return nil
}
