package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Save writes images of the store as one tar, that is both what `docker save` writes since
// Docker 25 and an OCI layout: manifest.json and index.json name the same blobs. A name
// without a tag means the images with all its tags, as with docker. The tar has the names
// of the images, except for those that are paths of files.
//
// If the store has the packed layers of an image, they and its manifest are written as
// they came. If not, the layers are plain tars; their digests are the configuration's
// diffIDs, and the image's ID stays the same. The same store always gives the same
// tar. It calls o.Warn for an image that gets another ID (see [Store.export]).
func (s *Store) Save(ctx context.Context, w io.Writer, o ResolveOptions, refs ...string) error {
	images, err := s.exports(ctx, o, refs)
	defer func() {
		for _, e := range images {
			e.close()
		}
	}()
	if err != nil {
		return err
	}
	archive := &archiveWriter{out: tar.NewWriter(&cancelWriter{ctx, w}), written: map[string]bool{}}
	if err := archive.images(ctx, images); err != nil {
		return &Error{Op: "save", Err: err}
	}
	return nil
}

// exports prepares the images that the references mean. An image with two of the names
// is prepared once. The caller closes those that are returned, also with an error.
func (s *Store) exports(ctx context.Context, o ResolveOptions, refs []string) ([]*savedExport, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var all []*savedExport
	for _, ref := range refs {
		names, err := x.tagsOf(ref)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if all, err = s.exportAs(ctx, x, all, name, o); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// tagsOf returns the names of the images that a reference without a tag or digest
// means, or else the reference itself.
func (x *index) tagsOf(ref string) ([]string, error) {
	r, err := parseReference(ref, pathExists)
	if err != nil || !r.bare {
		return []string{ref}, err
	}
	var names []string
	for _, d := range x.Manifests {
		if tag, ok := strings.CutPrefix(d.name(), r.domain+"/"+r.repository+":"); ok && isTag(tag) && !slices.Contains(names, d.name()) {
			names = append(names, d.name())
		}
	}
	if names == nil {
		names = []string{ref}
	}
	return names, nil
}

// exportAs adds the image that a reference means to those that are saved, or its name if
// the image is one of them.
func (s *Store) exportAs(ctx context.Context, x *index, all []*savedExport, ref string, o ResolveOptions) ([]*savedExport, error) {
	r, err := newRequest(ref, o)
	if err != nil {
		return all, err
	}
	d, err := x.one(r)
	if err != nil {
		return all, &Error{Op: "save " + ref, Err: err}
	}
	i := slices.IndexFunc(all, func(e *savedExport) bool { return e.from == d.Digest.String() })
	if i < 0 {
		e, err := s.export(ctx, d)
		if err != nil {
			return all, readError(d, err)
		}
		if e.changed {
			o.warn("image %s gets the ID %s: its layers cannot be packed as they came", r.short(), digestOf(e.config))
		}
		i, all = len(all), append(all, &savedExport{exported: e, from: d.Digest.String()})
	}
	if d.name() == r.String() && r.transport == registry && r.digest() == "" && !slices.Contains(all[i].names, r.String()) {
		all[i].names = append(all[i].names, r.String())
	}
	return all, nil
}

// savedExport is an image with the names that it is saved under.
type savedExport struct {
	*exported
	from  string // digest of the manifest in the store
	names []string
}

// archiveWriter writes the tar of saved images. All files belong to root, and have the time
// 0 (1970).
type archiveWriter struct {
	out     *tar.Writer
	written map[string]bool // blobs
}

func (a *archiveWriter) images(ctx context.Context, images []*savedExport) error {
	index, saved, err := tables(images)
	if err != nil {
		return err
	}
	// What names the blobs comes first, so that readers need not look for it.
	for _, write := range []func() error{
		func() error { return a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)) },
		func() error { return a.file("index.json", index) },
		func() error { return a.file("manifest.json", saved) },
		func() error { return a.dir("blobs/") },
		func() error { return a.dir("blobs/sha256/") },
	} {
		if err := write(); err != nil {
			return err
		}
	}
	for _, e := range images {
		for _, blob := range [][]byte{e.manifest, e.config} {
			if err := a.blob(blob); err != nil {
				return err
			}
		}
		for _, l := range e.layers {
			if err := a.layer(ctx, l); err != nil {
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
		}
	}
	return a.out.Close()
}

// tables returns index.json and manifest.json.
func tables(images []*savedExport) (index, saved []byte, err error) {
	x := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	list := []savedImage{}
	for _, e := range images {
		one := savedImage{Config: "blobs/" + digestPath(digestOf(e.config))}
		for _, l := range e.layers {
			one.Layers = append(one.Layers, "blobs/"+digestPath(l.Digest.String()))
		}
		d := v1.Descriptor{MediaType: e.entry.MediaType, Digest: e.entry.Digest, Size: e.entry.Size, Platform: e.entry.Platform}
		if len(e.names) == 0 {
			x.Manifests = append(x.Manifests, d)
		}
		for _, name := range e.names {
			tag := name[len(repositoryOf(name))+1:]
			d.Annotations = map[string]string{annotationName: tag, annotationFullName: name}
			x.Manifests = append(x.Manifests, d)
			one.RepoTags = append(one.RepoTags, strings.TrimPrefix(strings.TrimPrefix(name, dockerHub+"/"), "library/"))
		}
		list = append(list, one)
	}
	index, err = json.Marshal(x)
	if err != nil {
		return nil, nil, err
	}
	saved, err = json.Marshal(list)
	return index, saved, err
}

func (a *archiveWriter) dir(name string) error {
	return a.out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: time.Unix(0, 0)})
}

func (a *archiveWriter) file(name string, data []byte) error {
	return a.copy(name, int64(len(data)), func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(data))
		return err
	})
}

func (a *archiveWriter) copy(name string, size int64, write func(io.Writer) error) error {
	if err := a.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	return errors.Join(write(a.out), a.out.Flush())
}

func (a *archiveWriter) blob(data []byte) error {
	if digest := digestOf(data); !a.has(digest) {
		return a.file("blobs/"+digestPath(digest), data)
	}
	return nil
}

func (a *archiveWriter) layer(ctx context.Context, l exportedLayer) error {
	if a.has(l.Digest.String()) {
		return nil
	}
	return a.copy("blobs/"+digestPath(l.Digest.String()), l.Size, func(w io.Writer) error { return l.write(ctx, w) })
}

// has reports whether a blob was written, and notes that it is.
func (a *archiveWriter) has(digest string) bool {
	had := a.written[digest]
	a.written[digest] = true
	return had
}
