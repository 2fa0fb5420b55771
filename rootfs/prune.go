package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// PruneOptions are the choices of Prune.
type PruneOptions struct {
	All    bool      // also images with a name
	Until  time.Time // only images that were made before; the zero value is no limit
	Labels []string  // only images with these labels, each KEY or KEY=VALUE
	Not    []string  // only images without these labels
	Packed bool      // also the packed layers of the images that stay
}

// Prune removes the images without a name, and what no image needs: layers of pulls that
// failed, and what killed processes left. An image that a container uses stays. reclaimed
// is how many bytes of the disk Prune has freed.
func (s *Store) Prune(o PruneOptions) (removed *Removal, reclaimed int64, err error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	before, err := s.contentUsage()
	if err != nil {
		return nil, 0, err
	}
	x, err := s.readIndex()
	if err != nil {
		return nil, 0, err
	}
	s.sweep()
	removed = &Removal{}
	gone, err := s.prunable(x, o, removed)
	if err != nil {
		return nil, 0, err
	}
	if removed.Kept, err = s.forget(x, gone); err != nil {
		return nil, 0, &Error{Op: "prune", Err: err}
	}
	if err := errors.Join(s.dropLeftovers(), s.dropPacked(x, o.Packed)); err != nil {
		return nil, 0, &Error{Op: "prune", Err: err}
	}
	after, err := s.contentUsage()
	return removed, max(before-after, 0), err
}

// prunable removes entries from the index and returns the manifests that then have
// none.
func (s *Store) prunable(x *index, o PruneOptions, removed *Removal) (manifests []string, err error) {
	var kept []descriptor
	for _, d := range x.Manifests {
		used, err := s.inUse(d.Digest.String())
		if err != nil {
			return nil, err
		}
		if used || !o.All && !d.isNameless() || !s.isPrunable(&d, o) {
			kept = append(kept, d)
			continue
		}
		removed.Untagged = append(removed.Untagged, d.name())
		if id := d.Annotations[annotationID]; !slices.Contains(removed.Deleted, id) {
			removed.Deleted = append(removed.Deleted, id)
		}
		manifests = append(manifests, d.Digest.String())
	}
	x.Manifests = kept
	manifests = slices.DeleteFunc(manifests, x.has)
	removed.Deleted = slices.DeleteFunc(removed.Deleted, func(id string) bool {
		return slices.ContainsFunc(kept, func(d descriptor) bool { return d.Annotations[annotationID] == id })
	})
	return manifests, nil
}

// isPrunable reports whether an image is one of those that the options choose. An image
// that cannot be read is one of them, unless the options ask about its configuration.
func (s *Store) isPrunable(d *descriptor, o PruneOptions) bool {
	if o.Until.IsZero() && len(o.Labels) == 0 && len(o.Not) == 0 {
		return true
	}
	_, config, err := s.readManifest(d.Digest.String())
	if err != nil {
		return false
	}
	if !o.Until.IsZero() && (config.Created == nil || !config.Created.Before(o.Until)) {
		return false
	}
	has := func(label string) bool {
		key, want, exact := strings.Cut(label, "=")
		value, ok := config.Config.Labels[key]
		return ok && (!exact || value == want)
	}
	for _, label := range o.Labels {
		if !has(label) {
			return false
		}
	}
	return !slices.ContainsFunc(o.Not, has)
}

// dropLeftovers removes the files beside layers that do not exist.
func (s *Store) dropLeftovers() error {
	for _, suffix := range []string{sizeSuffix, recordSuffix} {
		files, err := filepath.Glob(s.path("layers/sha256/*" + suffix))
		if err != nil {
			return err
		}
		for _, file := range files {
			if _, err := os.Lstat(strings.TrimSuffix(file, suffix)); errors.Is(err, os.ErrNotExist) {
				if err := os.Remove(file); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// dropPacked removes the packed layers of images.
func (s *Store) dropPacked(x *index, all bool) error {
	if !all {
		return nil
	}
	for _, d := range x.Manifests {
		m, _, err := s.readManifest(d.Digest.String())
		if err != nil {
			continue // a damaged image stays as it is
		}
		for _, l := range m.Layers {
			if err := os.Remove(s.blob(l.Digest.String())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// contentUsage returns how many bytes of the disk everything takes that Prune may remove.
func (s *Store) contentUsage() (int64, error) {
	var all int64
	for _, dir := range []string{"blobs", "layers", "tmp"} {
		size, err := diskUsage(s.path(dir))
		if err != nil {
			return 0, err
		}
		all += size
	}
	return all, nil
}
