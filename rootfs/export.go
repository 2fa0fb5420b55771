package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// exported is an image as it leaves the store.
type exported struct {
	entry    descriptor
	manifest []byte
	config   []byte
	layers   []exportedLayer
	changed  bool // it has another ID than in the store
	lock     io.Closer
}

// exportedLayer is a layer as it leaves the store. write fails unless it has written
// what digest and size say.
type exportedLayer struct {
	v1.Descriptor
	diffID string
	write  func(context.Context, io.Writer) error
}

func (e *exported) close() { _ = e.lock.Close() }

// export prepares an image to leave the store, and keeps it from being removed until
// close. If the store has the packed layers, the manifest is the one that the image
// came with. If not, the layers are the plain tars that were unpacked, which are made
// again: the configuration, and so the image's ID, stays the same. Only a layer without
// a record of its tar gets a tar with another digest, and the image another ID.
func (s *Store) export(ctx context.Context, d *descriptor) (*exported, error) {
	lock, err := lockShared(s.blob(d.Digest.String()))
	if err != nil {
		return nil, missing(err)
	}
	e := &exported{entry: *d, lock: lock}
	if err := e.fill(ctx, s); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *exported) fill(ctx context.Context, s *Store) error {
	m, config, err := s.readManifest(e.entry.Digest.String())
	if err != nil {
		return err
	}
	if e.config, err = s.readBlob(m.Config.Digest.String()); err != nil {
		return err
	}
	if s.hasPacked(m) {
		for i, l := range m.Layers {
			e.layers = append(e.layers, exportedLayer{l, config.RootFS.DiffIDs[i], s.blobWriter(l.Digest.String())})
		}
		e.manifest, err = s.readBlob(e.entry.Digest.String())
		return err
	}
	for _, diffID := range config.RootFS.DiffIDs {
		l, err := s.plainLayer(ctx, diffID)
		if err != nil {
			return fmt.Errorf("layer %s: %w", diffID, err)
		}
		e.layers = append(e.layers, *l)
	}
	return e.remake(config)
}

// remake makes a manifest of the layers, and another configuration if a layer has
// another digest than before.
func (e *exported) remake(config *configFile) error {
	diffIDs := []string{}
	for _, l := range e.layers {
		diffIDs = append(diffIDs, l.diffID)
	}
	var err error
	if e.changed = !slices.Equal(diffIDs, config.RootFS.DiffIDs); e.changed {
		if e.config, err = withDiffIDs(e.config, diffIDs); err != nil {
			return err
		}
	}
	m := v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hashOf(digestOf(e.config)), Size: int64(len(e.config))},
		Layers:        []v1.Descriptor{},
	}
	for _, l := range e.layers {
		m.Layers = append(m.Layers, l.Descriptor)
	}
	if e.manifest, err = json.Marshal(m); err != nil {
		return err
	}
	e.entry.MediaType, e.entry.Digest, e.entry.Size = m.MediaType, hashOf(digestOf(e.manifest)), int64(len(e.manifest))
	return nil
}

// withDiffIDs replaces the diffIDs of a configuration and keeps everything else.
func withDiffIDs(config []byte, diffIDs []string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, err
	}
	root, err := json.Marshal(rootFS{Type: "layers", DiffIDs: diffIDs})
	if err != nil {
		return nil, err
	}
	fields["rootfs"] = root
	return json.Marshal(fields)
}

// hasPacked reports whether the store has all packed layers of a manifest.
func (s *Store) hasPacked(m *v1.Manifest) bool {
	for _, l := range m.Layers {
		info, err := os.Stat(s.blob(l.Digest.String()))
		if err != nil || info.Size() != l.Size {
			return false
		}
	}
	return true
}

// blobWriter returns a function that writes a blob.
func (s *Store) blobWriter(digest string) func(context.Context, io.Writer) error {
	return func(ctx context.Context, w io.Writer) error {
		f, err := os.Open(s.blob(digest))
		if err != nil {
			return missing(err)
		}
		defer f.Close()
		return copyPacked(ctx, w, f, digest)
	}
}

// plainLayer describes the tar of an unpacked layer.
func (s *Store) plainLayer(ctx context.Context, diffID string) (*exportedLayer, error) {
	if _, err := os.Stat(s.layer(diffID)); err != nil {
		return nil, missing(err)
	}
	if _, err := os.Stat(s.layer(diffID) + recordSuffix); err == nil {
		size, _ := layerNote(s.layer(diffID))
		return &exportedLayer{v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: hashOf(diffID), Size: size}, diffID, func(ctx context.Context, w io.Writer) error {
			return s.writeTar(&cancelWriter{ctx, w}, diffID)
		}}, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	h := sha256.New()
	counted := &countingWriter{Writer: h}
	if err := packLayer(&cancelWriter{ctx, counted}, s.layer(diffID)); err != nil {
		return nil, err
	}
	newID := sum(h)
	packed := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: hashOf(newID), Size: counted.n}
	return &exportedLayer{packed, newID, func(ctx context.Context, w io.Writer) error {
		h := sha256.New()
		err := packLayer(&cancelWriter{ctx, io.MultiWriter(w, h)}, s.layer(diffID))
		if err == nil && sum(h) != newID {
			err = fmt.Errorf("%w: it changes", ErrDamaged)
		}
		return err
	}}, nil
}

// countingWriter counts what is written.
type countingWriter struct {
	io.Writer
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n += int64(n)
	return n, err
}
