package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/minirun/minirun/internal/atomicfile"
)

// Verification is what Verify found out about an image.
type Verification struct {
	Name     string   `json:"name"`
	ID       string   `json:"id"`
	Platform string   `json:"platform"`
	Layers   int      `json:"layers"`
	Size     int64    `json:"size"`               // bytes of the layers' tars
	Problems []string `json:"problems,omitempty"` // one line each

	CanPull bool `json:"-"` // a pull gets it again, from its registry or its file
}

// Verify checks all parts of the named images, or of all images of the store if there
// are no names: the digests of manifests, configurations and layers, and the names,
// types, modes, owners and sizes of all files. A layer without a record of its tar
// (see recordSuffix) is only checked for the latter. Times and extended attributes are
// not checked.
//
// A layer that has changed is marked, so that the next pull of the image fetches it
// again. Verify returns [ErrNotFound] for a name that the store does not have.
func (s *Store) Verify(ctx context.Context, names ...string) ([]Verification, error) {
	found, err := s.entriesNamed(names)
	if err != nil {
		return nil, err
	}
	v := verifier{store: s, layers: map[string]error{}}
	all := []Verification{}
	for _, d := range found {
		one, err := v.image(ctx, &d)
		if err != nil {
			return nil, err
		}
		if one != nil {
			all = append(all, *one)
		}
	}
	return all, nil
}

// entriesNamed returns the entries of the index that the names mean, or all if there
// are no names, sorted by name.
func (s *Store) entriesNamed(names []string) ([]descriptor, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	found := x.Manifests
	if len(names) > 0 {
		found = nil
	}
	for _, name := range names {
		r, err := parseReference(name, pathExists)
		if err != nil {
			return nil, err
		}
		some, err := x.named(r)
		if err == nil && len(some) == 0 {
			err = &Error{Err: ErrNotFound, Cause: CauseNoImage}
		}
		if err != nil {
			return nil, &Error{Op: "image " + name, Err: err}
		}
		for _, d := range some {
			if !slices.ContainsFunc(found, func(o descriptor) bool { return o.name() == d.name() && o.Digest == d.Digest }) {
				found = append(found, d)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b descriptor) int { return strings.Compare(a.name(), b.name()) })
	return found, nil
}

// verifier checks a layer that several images have only once.
type verifier struct {
	store  *Store
	layers map[string]error
}

// image checks an image, and keeps it from being removed meanwhile. It returns nil for
// an image that was removed.
func (v *verifier) image(ctx context.Context, d *descriptor) (*Verification, error) {
	s := v.store
	one := &Verification{Name: d.name(), ID: d.Annotations[annotationID], CanPull: d.canPull()}
	if d.Platform != nil {
		one.Platform = d.Platform.String()
	}
	problem := func(err error) (*Verification, error) {
		one.Problems = append(one.Problems, (&Error{Err: err}).Error())
		return one, nil
	}
	lock, err := lockShared(s.blob(d.Digest.String()))
	if errors.Is(err, os.ErrNotExist) {
		x, failed := s.readIndex()
		if failed != nil || !x.has(d.Digest.String()) {
			return nil, failed
		}
		return problem(missing(err))
	}
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	m, config, err := s.readManifest(d.Digest.String())
	if err != nil {
		return problem(err)
	}
	one.Layers = len(config.RootFS.DiffIDs)
	for _, diffID := range config.RootFS.DiffIDs {
		size, _ := layerNote(s.layer(diffID))
		one.Size += size
		if err := v.layer(ctx, diffID); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			_, _ = problem(fmt.Errorf("layer %s: %w", diffID, err))
		}
	}
	for _, layer := range m.Layers {
		if err := s.checkPacked(ctx, layer.Digest.String()); err != nil {
			_, _ = problem(err)
		}
	}
	return one, ctx.Err()
}

func (v *verifier) layer(ctx context.Context, diffID string) error {
	err, seen := v.layers[diffID]
	if seen {
		return err
	}
	err = v.store.checkLayer(ctx, diffID)
	if errors.Is(err, ErrDamaged) {
		if failed := v.store.markDamaged(diffID); failed != nil {
			err = fmt.Errorf("%w; it cannot be marked: %w", err, failed)
		}
	}
	v.layers[diffID] = err
	return err
}

func (s *Store) checkLayer(ctx context.Context, diffID string) error {
	if _, err := os.Stat(s.layer(diffID)); err != nil {
		return missing(err)
	}
	err := s.writeTar(&cancelWriter{ctx, io.Discard}, diffID)
	if errors.Is(err, errNoRecord) {
		err = nil
	}
	if err == nil && !s.isIntact(diffID) {
		err = fmt.Errorf("%w: the layer's files have changed", ErrDamaged)
	}
	return err
}

// checkPacked checks the digest of a packed layer, if the store has it.
func (s *Store) checkPacked(ctx context.Context, digest string) error {
	if !isDigest(digest) {
		return nil
	}
	f, err := os.Open(s.blob(digest))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return copyPacked(ctx, io.Discard, f, digest)
}

// copyPacked copies a packed layer, and returns an error if its digest is another one.
func copyPacked(ctx context.Context, w io.Writer, r io.Reader, digest string) error {
	got, err := copyHashed(ctx, w, r)
	if err == nil && got != digest {
		err = fmt.Errorf("%w: packed layer %s has the digest %s", ErrDamaged, digest, got)
	}
	return err
}

// markDamaged notes that a layer is not intact, whatever stat(2) returns.
func (s *Store) markDamaged(diffID string) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(s.layer(diffID)); err != nil {
		return nil // a layer that does not exist is fetched anyway
	}
	size, _ := layerNote(s.layer(diffID))
	return atomicfile.WriteSync(s.layer(diffID)+sizeSuffix, fmt.Appendf(nil, "%d damaged", size), 0o600)
}

// cancelWriter fails once the context is done.
type cancelWriter struct {
	ctx context.Context
	io.Writer
}

func (w *cancelWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}
