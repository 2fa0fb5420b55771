package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// content is an image on its way into the store.
type content struct {
	names  []string
	stamp  string // of the file it comes from; "" from elsewhere
	local  bool   // no layer is fetched from a registry
	keep   bool   // whether the store keeps the packed layers too
	file   string // digest of that file, if it is the tarball of a root file system
	index  string // digest that the registry gave for the name
	config []byte // nil: made from base and the layers
	base   configFile
	made   *describedFile // used instead of base if not nil; it has a history too

	limits Limits
	warn   func(format string, args ...any) // may be nil

	manifest     []byte // nil: made from the layers
	manifestType types.MediaType
	layers       []layerSource
}

// layerSource is a layer that can be read once.
type layerSource struct {
	diffID string // of the tar; "": not checked
	digest string // of the packed stream; "": not checked
	size   int64  // of the packed stream; 0: unknown
	whole  bool   // the packed stream is all of the file it comes from
	ended  bool   // the tar must have its end-of-archive blocks: no digest would show that it is truncated
	open   func(context.Context) (io.ReadCloser, error)
}

func digestOf(data []byte) string {
	h := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(h[:])
}

// hashOf converts a digest, which must be valid (isDigest), to the type of the registry
// library.
func hashOf(digest string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: digestHex(digest)} }

// add unpacks an image's layers into a work directory and then moves all of it into the
// store in one step. After an error the store has the same images as before; layers that
// were unpacked completely may remain.
func (s *Store) add(ctx context.Context, c *content, progress Progress) (info *ImageInfo, err error) {
	if len(c.layers) > maxLayers {
		return nil, fmt.Errorf("the image has %d layers; overlayfs takes at most %d", len(c.layers), maxLayers)
	}
	work, err := s.newWorkDir()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, work.remove()) }()
	space, err := newSpace(work.path)
	if err != nil {
		return nil, err
	}
	defer space.close()
	space.limits = c.limits.orDefault()
	a := &addition{store: s, work: work, space: space, content: c, progress: progress.serial()}
	defer a.release()
	if err := a.unpackLayers(ctx); err != nil {
		a.keepLayers(err)
		return nil, err
	}
	d, err := a.commit()
	if err != nil {
		return nil, err
	}
	return s.info(d)
}

type addition struct {
	store    *Store
	work     *workDir
	space    *space
	content  *content
	progress Progress
	layers   []layer // in the order of content.layers

	mu     sync.Mutex
	locks  []*os.File          // on layers that are in the store
	claims map[string]*os.File // on layers that are fetched, by diffID
}

func (a *addition) release() {
	a.dropClaims()
	for _, f := range a.locks {
		_ = f.Close()
	}
}

// commit moves layers, blobs and the index entry into the store, in this order, so that
// everything that the index names exists. It syncs the file system first.
func (a *addition) commit() (*descriptor, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	manifest, mediaType, err := a.manifest(config)
	if err != nil {
		return nil, err
	}
	for _, blob := range [][]byte{config, manifest} {
		if err := os.WriteFile(a.work.join(digestHex(digestOf(blob))), blob, 0o600); err != nil {
			return nil, err
		}
	}
	if err := syncFileSystem(a.work.path); err != nil {
		return nil, err
	}
	unlock, err := a.store.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := errors.Join(a.takeLayers(), a.takePacked()); err != nil {
		return nil, err
	}
	for _, blob := range [][]byte{config, manifest} {
		if err := a.takeBlob(digestOf(blob)); err != nil {
			return nil, err
		}
	}
	return a.name(config, manifest, mediaType)
}

// takeBlob renames a blob into its place. A blob that exists is kept: another process
// may hold a lock on it.
func (a *addition) takeBlob(digest string) error {
	if _, err := a.store.readBlob(digest); err == nil {
		return nil
	}
	return os.Rename(a.work.join(digestHex(digest)), a.store.blob(digest))
}

func (a *addition) diffIDs() []string {
	var all []string
	for _, l := range a.layers {
		all = append(all, l.diffID)
	}
	return all
}

func (a *addition) config() ([]byte, error) {
	if a.content.config != nil {
		return a.content.config, nil
	}
	if c := a.content.made; c != nil {
		c.RootFS = rootFS{Type: "layers", DiffIDs: a.diffIDs()}
		return json.Marshal(c)
	}
	c := a.content.base
	c.RootFS = rootFS{Type: "layers", DiffIDs: a.diffIDs()}
	return json.Marshal(c)
}

func (a *addition) manifest(config []byte) (data []byte, mediaType types.MediaType, err error) {
	if a.content.manifest != nil {
		return a.content.manifest, a.content.manifestType, nil
	}
	m := v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hashOf(digestOf(config)), Size: int64(len(config))},
		Layers:        []v1.Descriptor{},
	}
	for _, l := range a.layers {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: hashOf(l.diffID), Size: l.size})
	}
	data, err = json.Marshal(m)
	return data, m.MediaType, err
}

// name writes the index entries, and then removes what only replaced entries needed. If no
// entry was replaced it removes nothing, so that the layers of an interrupted pull stay.
func (a *addition) name(config, manifest []byte, mediaType types.MediaType) (*descriptor, error) {
	parsed, err := parseConfig(config)
	if err != nil {
		return nil, err
	}
	var size int64
	for _, l := range a.layers {
		size += l.size
	}
	x, err := a.store.readIndex()
	if err != nil {
		return nil, err
	}
	replaced := false
	platform := parsed.platform()
	d := descriptor{v1.Descriptor{
		MediaType: mediaType, Digest: hashOf(digestOf(manifest)), Size: int64(len(manifest)),
		Platform: &platform,
	}}
	names := a.content.names
	if len(names) == 0 {
		names = []string{digestOf(config)}
	}
	for _, name := range names {
		d.Annotations = map[string]string{
			annotationName: name,
			annotationID:   digestOf(config),
			annotationSize: strconv.FormatInt(size, 10),
		}
		if a.content.stamp != "" {
			d.Annotations[annotationSource] = a.content.stamp
		}
		if a.content.file != "" {
			d.Annotations[annotationFile] = a.content.file
		}
		if a.content.index != "" {
			d.Annotations[annotationIndex] = a.content.index
		}
		replaced = x.put(d) || replaced
	}
	if err := a.store.writeIndex(x); err != nil {
		return nil, err
	}
	if replaced {
		// The image has been added, so an error is not returned: rmi tries again, and
		// reports it.
		_ = a.store.collect(x)
	}
	return &d, nil
}
