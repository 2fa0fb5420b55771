package rootfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	answers "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"github.com/minirun/minirun/internal/hint"
)

// Pushed is what a registry has after a push.
type Pushed struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // of the manifest
	Size   int64  `json:"size"`   // bytes of the manifest
}

// Push copies an image of the store to the registry of its name, with the user's
// credentials (those of docker login, or of DOCKER_CONFIG). A registry on a loopback
// address is reached by http.
//
// The manifest is the one that the image came with, if the store or the registry has
// all of its packed layers. If not, the layers that neither has are compressed again,
// with another digest, and so is the manifest's; the image's ID stays the same, except
// for layers without a record (see [Store.Save]). Layers that the registry has are not
// sent.
func (s *Store) Push(ctx context.Context, ref string, o ResolveOptions) (*Pushed, error) {
	r, err := newRequest(ref, o)
	if err != nil {
		return nil, err
	}
	if r.transport != registry || r.digest() != "" {
		return nil, hint.With(&Error{Op: "push " + ref, Err: errors.New("not a name with a tag")}, "give the image a name with a tag, of the registry, first")
	}
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	r.id = "" // an ID has no registry
	d, err := x.one(r)
	if err != nil {
		return nil, &Error{Op: "push " + ref, Err: err}
	}
	p := &pusher{store: s, request: r, ctx: ctx}
	if p.target, err = r.remote(); err != nil {
		return nil, err
	}
	pushed, err := p.push(x, d)
	if err != nil {
		return nil, r.pushError(err)
	}
	return pushed, nil
}

type pusher struct {
	store   *Store
	request request
	ctx     context.Context
	target  name.Reference
	work    *workDir
	layers  []*pushedLayer
	mu      sync.Mutex // of the progress
}

func (p *pusher) push(x *index, d *descriptor) (*Pushed, error) {
	lock, err := lockShared(p.store.blob(d.Digest.String()))
	if err != nil {
		return nil, missing(err)
	}
	defer lock.Close()
	image, err := p.original(x, d)
	if err != nil {
		return nil, err
	}
	if image == nil {
		if p.work, err = p.store.newWorkDir(); err != nil {
			return nil, err
		}
		defer func() { _ = p.work.remove() }() // the next sweep removes what is left
		p.layers = nil
		if image, err = p.remade(d); err != nil {
			return nil, err
		}
	}
	if err := remote.Write(p.target, image, p.options()...); err != nil {
		return nil, err
	}
	for _, l := range p.layers {
		if !l.sent {
			p.report(Event{Layer: l.Descriptor.Digest.String(), Status: "exists", Done: l.Descriptor.Size, Total: l.Descriptor.Size})
		}
	}
	return &Pushed{p.request.String(), digestOf(image.manifest), int64(len(image.manifest))}, nil
}

func (p *pusher) options() []remote.Option {
	return []remote.Option{
		remote.WithContext(p.ctx), remote.WithAuthFromKeychain(keychain{p.request}), remote.WithUserAgent("minirun"),
		remote.WithTransport(limitManifests{remote.DefaultTransport}),
	}
}

func (p *pusher) report(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.request.Progress.report(e)
}

// original returns the image with the manifest that it came with, or nil if neither the
// store nor the registry has all of its packed layers.
func (p *pusher) original(x *index, d *descriptor) (*pushedImage, error) {
	m, _, err := p.store.readManifest(d.Digest.String())
	if err != nil {
		return nil, err
	}
	image := &pushedImage{mediaType: d.MediaType}
	if image.manifest, err = p.store.readBlob(d.Digest.String()); err != nil {
		return nil, err
	}
	if image.config, err = p.store.readBlob(m.Config.Digest.String()); err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		layer, err := p.found(x, d, l)
		if layer == nil || err != nil {
			return nil, err
		}
		image.layers = append(image.layers, layer)
	}
	return image, nil
}

// found returns a packed layer that the store or the registry has, or nil.
func (p *pusher) found(x *index, d *descriptor, l v1.Descriptor) (v1.Layer, error) {
	layer := p.layer(l, p.store.blob(l.Digest.String()))
	if info, err := os.Stat(layer.file); err == nil && info.Size() == l.Size {
		return layer, nil
	}
	exists, err := p.exists(p.target.Context(), l.Digest)
	if exists || err != nil {
		return layer, err
	}
	for _, other := range x.Manifests { // under another name, in the same registry
		r, err := parseName(other.name())
		if err != nil || other.Digest != d.Digest || r.domain != p.request.domain || r.repository == p.request.repository {
			continue
		}
		from, err := r.remote()
		if err != nil {
			continue
		}
		if exists, err := p.exists(from.Context(), l.Digest); err == nil && exists {
			return &remote.MountableLayer{Layer: layer, Reference: from}, nil
		}
	}
	return nil, nil
}

// exists reports whether a repository has a blob. One that does not exist, or may not be
// read, has none.
func (p *pusher) exists(repository name.Repository, digest v1.Hash) (bool, error) {
	layer, err := remote.Layer(repository.Digest(digest.String()), p.options()...)
	if err != nil {
		return false, err
	}
	exists, err := partial.Exists(layer)
	var answer *answers.Error
	if errors.As(err, &answer) {
		return false, nil
	}
	return exists, err
}

// remade returns the image with layers that are compressed again.
func (p *pusher) remade(d *descriptor) (*pushedImage, error) {
	e, err := p.store.export(p.ctx, d)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if e.changed {
		p.request.warn("image %s gets the ID %s: its layers cannot be packed as they came", p.request.short(), digestOf(e.config))
	}
	var m v1.Manifest
	if err := json.Unmarshal(e.manifest, &m); err != nil {
		return nil, err
	}
	image := &pushedImage{config: e.config, mediaType: m.MediaType}
	m.Layers = []v1.Descriptor{}
	for i, l := range e.layers {
		packed, err := p.compress(l, p.work.join(strconv.Itoa(i)))
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Digest, err)
		}
		m.Layers = append(m.Layers, packed.Descriptor)
		image.layers = append(image.layers, packed)
	}
	image.manifest, err = json.Marshal(m)
	return image, err
}

// compress writes a layer to a file, compressed. Its digest depends on the tar and on
// the version of the library, not on the time.
func (p *pusher) compress(l exportedLayer, file string) (*pushedLayer, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkSpace(p.work.path, uint64(l.Size), 1); err != nil {
		return nil, err
	}
	h := sha256.New()
	packed := &countingWriter{Writer: io.MultiWriter(f, h)}
	z := gzip.NewWriter(packed)
	event := Event{Layer: l.Digest.String(), Status: "packing", Total: l.Size}
	if err := l.write(p.ctx, &progressWriter{Writer: z, event: event, report: p.report}); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	d := v1.Descriptor{MediaType: types.OCILayer, Digest: hashOf(sum(h)), Size: packed.n}
	return p.layer(d, file), nil
}

// progressWriter reports how much of a layer was written.
type progressWriter struct {
	io.Writer
	event    Event
	reported int64
	report   Progress
}

func (w *progressWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if w.event.Done += int64(n); w.event.Done-w.reported >= progressStep {
		w.reported = w.event.Done
		w.report(w.event)
	}
	return n, err
}

// pushedImage is an image for [remote.Write].
type pushedImage struct {
	manifest  []byte
	mediaType types.MediaType
	config    []byte
	layers    []v1.Layer
}

func (i *pushedImage) Layers() ([]v1.Layer, error)         { return i.layers, nil }
func (i *pushedImage) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *pushedImage) Size() (int64, error)                { return int64(len(i.manifest)), nil }

func (i *pushedImage) ConfigName() (v1.Hash, error) { return hashOf(digestOf(i.config)), nil }

func (i *pushedImage) ConfigFile() (*v1.ConfigFile, error) {
	return v1.ParseConfigFile(bytes.NewReader(i.config))
}
func (i *pushedImage) RawConfigFile() ([]byte, error) { return i.config, nil }
func (i *pushedImage) Digest() (v1.Hash, error)       { return hashOf(digestOf(i.manifest)), nil }

func (i *pushedImage) Manifest() (*v1.Manifest, error) {
	return v1.ParseManifest(bytes.NewReader(i.manifest))
}
func (i *pushedImage) RawManifest() ([]byte, error)            { return i.manifest, nil }
func (i *pushedImage) LayerByDiffID(v1.Hash) (v1.Layer, error) { return nil, errors.ErrUnsupported }

func (i *pushedImage) LayerByDigest(digest v1.Hash) (v1.Layer, error) {
	if digest == hashOf(digestOf(i.config)) {
		return partial.ConfigLayer(i)
	}
	for _, l := range i.layers {
		if has, err := l.Digest(); err == nil && has == digest {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no layer %s", digest)
}

// pushedLayer is a packed layer in a file. The file may be missing if the registry has the
// layer.
type pushedLayer struct {
	v1.Descriptor
	pusher *pusher
	file   string
	sent   bool
}

func (p *pusher) layer(d v1.Descriptor, file string) *pushedLayer {
	l := &pushedLayer{Descriptor: d, pusher: p, file: file}
	p.layers = append(p.layers, l)
	return l
}

func (l *pushedLayer) Digest() (v1.Hash, error)             { return l.Descriptor.Digest, nil }
func (l *pushedLayer) DiffID() (v1.Hash, error)             { return v1.Hash{}, errors.ErrUnsupported }
func (l *pushedLayer) Size() (int64, error)                 { return l.Descriptor.Size, nil }
func (l *pushedLayer) MediaType() (types.MediaType, error)  { return l.Descriptor.MediaType, nil }
func (l *pushedLayer) Uncompressed() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }

func (l *pushedLayer) Compressed() (io.ReadCloser, error) {
	f, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	l.sent = true
	return &sentFile{file: f, layer: l}, nil
}

// sentFile reports how much of a layer was sent.
type sentFile struct {
	file  *os.File // not embedded: its WriteTo would be used instead of Read
	layer *pushedLayer
	done  int64
}

func (f *sentFile) Close() error { return f.file.Close() }

func (f *sentFile) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	before := f.done
	f.done += int64(n)
	status := "pushing"
	if f.done == f.layer.Descriptor.Size {
		status = "done"
	}
	if n > 0 && (status == "done" || f.done/progressStep > before/progressStep) {
		f.layer.pusher.report(Event{Layer: f.layer.Descriptor.Digest.String(), Status: status, Done: f.done, Total: f.layer.Descriptor.Size})
	}
	return n, err
}

// pushError returns the error for a failed push, with a hint where there is one.
func (r request) pushError(err error) error {
	var answer *answers.Error
	fail := func(err error, text string) error {
		return hint.With(&Error{Op: "push " + r.short(), Err: err}, text)
	}
	login := "run 'docker login " + r.domain + "' first"
	switch {
	case isUnreachable(err):
		return fail(fmt.Errorf("%s cannot be reached: %w", r.domain, err), "check the name and the network")
	case !errors.As(err, &answer):
		return fail(err, "")
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return fail(fmt.Errorf("%s denies access: %w", r.domain, &answerError{answer}), login)
	}
	return fail(fmt.Errorf("%s answers: %w", r.domain, &answerError{answer}), "")
}
