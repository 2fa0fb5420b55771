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
	"path/filepath"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
)

// content is an image on its way into the store.
type content struct {
	names  []string
	stamp  string // of the file it comes from; "" from elsewhere
	local  bool   // no layer is fetched from a registry
	file   string // digest of that file, where it is a root's tarball
	index  string // digest that the registry gave for the name
	config []byte // nil: made from base and the layers
	base   configFile
	made   *describedFile // instead of base, with its history

	warn func(format string, args ...any) // may be nil

	manifest     []byte // nil: made from the layers
	manifestType types.MediaType
	layers       []layerSource
}

// layerSource is a layer that can be read once.
type layerSource struct {
	diffID string // "": whatever the tar has
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

// hashOf returns a digest, which must be valid (isDigest), as the registry library has it.
func hashOf(digest string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: digestHex(digest)} }

// add unpacks an image's layers into a work directory and then moves all of it
// into the store in one step. After an error the store is as before.
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
	a := &addition{store: s, work: work, space: space, content: c, progress: progress}
	defer a.release()
	for i := range c.layers {
		if err := a.layer(ctx, i); err != nil {
			return nil, err
		}
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
	diffIDs  []string
	sizes    []int64
	fresh    map[string]string // diffID → directory in work
	locks    []*os.File        // on layers that the store had already
}

func (a *addition) release() {
	for _, f := range a.locks {
		_ = f.Close()
	}
}

// layer makes sure that layer i is in the store or in the work directory.
func (a *addition) layer(ctx context.Context, i int) error {
	l := a.content.layers[i]
	if l.diffID != "" && (a.fresh[l.diffID] != "" || a.lockExisting(l.diffID)) {
		a.diffIDs, a.sizes = append(a.diffIDs, l.diffID), append(a.sizes, a.sizeOf(l.diffID))
		a.progress.report(Event{Layer: l.diffID, Status: "exists", Done: l.size, Total: l.size})
		return nil
	}
	dir := a.work.join(strconv.Itoa(i))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	got, err := a.unpack(ctx, i, dir)
	if err != nil {
		return fmt.Errorf("unpack layer %s: %w", l.label(i), err)
	}
	if err := noteLayer(dir, got.size); err != nil {
		return err
	}
	if a.fresh == nil {
		a.fresh = map[string]string{}
	}
	a.fresh[got.diffID] = dir
	a.diffIDs, a.sizes = append(a.diffIDs, got.diffID), append(a.sizes, got.size)
	return nil
}

// status returns the word for what is done with a layer: those of a file are not
// fetched.
func (a *addition) status() string {
	if a.content.local || a.content.stamp != "" {
		return "unpacking"
	}
	return "pulling"
}

func (l *layerSource) label(i int) string {
	switch {
	case l.digest != "":
		return l.digest
	case l.diffID != "":
		return l.diffID
	}
	return strconv.Itoa(i + 1)
}

// lockExisting keeps a layer of the store from being removed until the image is
// added. It returns false for a layer that is missing or damaged.
func (a *addition) lockExisting(diffID string) bool {
	f, err := lockShared(a.store.layer(diffID))
	if err != nil {
		return false
	}
	if !a.store.isIntact(diffID) {
		_ = f.Close()
		return false
	}
	a.locks = append(a.locks, f)
	return true
}

func (a *addition) unpack(ctx context.Context, i int, dir string) (unpacked, error) {
	l := a.content.layers[i]
	stream, err := l.open(ctx)
	if err != nil {
		return unpacked{}, err
	}
	defer stream.Close()
	reader := &progressReader{Reader: stream, progress: a.progress, event: Event{Layer: l.label(i), Status: a.status(), Total: l.size}}
	a.progress.report(reader.event)
	got, err := unpackLayer(ctx, reader, dir, a.space)
	if err != nil {
		return unpacked{}, err
	}
	if l.ended && got.noEnd {
		return unpacked{}, errTruncated
	}
	if l.digest != "" && got.digest != l.digest {
		return unpacked{}, fmt.Errorf("its digest is %s", got.digest)
	}
	if l.diffID != "" && got.diffID != l.diffID {
		return unpacked{}, fmt.Errorf("the configuration says %s, but the digest of the tar is %s", l.diffID, got.diffID)
	}
	if l.whole {
		a.content.file = got.digest
		if got.noEnd {
			a.content.warn("%s may be truncated: it has no end-of-archive blocks", a.content.names[0])
		}
	}
	read := reader.event.Done
	a.progress.report(Event{Layer: l.label(i), Status: "done", Done: read, Total: read})
	return got, nil
}

// commit moves layers, blobs and the index entry into the store, in this order, so
// that whatever the index names exists.
func (a *addition) commit() (*descriptor, error) {
	if err := syncFileSystem(a.work.path); err != nil {
		return nil, err
	}
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	manifest, mediaType, err := a.manifest(config)
	if err != nil {
		return nil, err
	}
	unlock, err := a.store.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	for diffID, dir := range a.fresh {
		if err := a.takeLayer(diffID, dir); err != nil {
			return nil, err
		}
	}
	for _, blob := range [][]byte{config, manifest} {
		if err := a.store.putBlob(blob); err != nil {
			return nil, err
		}
	}
	return a.name(config, manifest, mediaType)
}

// takeLayer renames an unpacked layer into its place, unless another process has
// done so already. A damaged layer in that place is moved to the work directory and
// removed with it; containers that run on it keep their mounts of it.
func (a *addition) takeLayer(diffID, dir string) error {
	target := a.store.layer(diffID)
	if _, err := os.Stat(target); err == nil {
		if a.store.isIntact(diffID) {
			return nil
		}
		if err := os.Rename(target, dir+".damaged"); err != nil {
			return err
		}
	}
	if err := os.Rename(dir+recordSuffix, target+recordSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(dir+sizeSuffix, target+sizeSuffix); err != nil {
		return err
	}
	return os.Rename(dir, target)
}

// putBlob stores a blob. A blob that exists is kept: another process may hold a lock
// on it.
func (s *Store) putBlob(data []byte) error {
	digest := digestOf(data)
	if _, err := s.readBlob(digest); err == nil {
		return nil
	}
	return atomicfile.WriteSync(s.blob(digest), data, 0o600)
}

func (a *addition) sizeOf(diffID string) int64 {
	for i, id := range a.diffIDs {
		if id == diffID {
			return a.sizes[i]
		}
	}
	size, _ := a.store.layerNote(diffID)
	return size
}

func (a *addition) config() ([]byte, error) {
	if a.content.config != nil {
		return a.content.config, nil
	}
	if c := a.content.made; c != nil {
		c.RootFS = rootFS{Type: "layers", DiffIDs: a.diffIDs}
		return json.Marshal(c)
	}
	c := a.content.base
	c.RootFS = rootFS{Type: "layers", DiffIDs: a.diffIDs}
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
	for i, diffID := range a.diffIDs {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: hashOf(diffID), Size: a.sizes[i]})
	}
	data, err = json.Marshal(m)
	return data, m.MediaType, err
}

// name writes the index entry, then removes what only the replaced entry needed.
func (a *addition) name(config, manifest []byte, mediaType types.MediaType) (*descriptor, error) {
	parsed, err := parseConfig(config)
	if err != nil {
		return nil, err
	}
	var size int64
	for _, n := range a.sizes {
		size += n
	}
	x, err := a.store.readIndex()
	if err != nil {
		return nil, err
	}
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
		x.put(d)
	}
	if err := a.store.writeIndex(x); err != nil {
		return nil, err
	}
	// The image is added. What cannot be removed now is tried again by the next pull,
	// and by rmi, which reports it.
	_ = a.store.collect(x)
	return &d, nil
}

func syncFileSystem(path string) error {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	return nil
}

const progressStep = 512 << 10 // bytes between two events

// progressReader reports how much of a layer has been read.
type progressReader struct {
	io.Reader
	progress Progress
	event    Event
	reported int64
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.event.Done += int64(n)
	if r.event.Done-r.reported >= progressStep {
		r.reported = r.event.Done
		r.progress.report(r.event)
	}
	return n, err
}
