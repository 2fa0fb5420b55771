package rootfs

import (
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// Removal is what Remove has done.
type Removal struct {
	Untagged []string // names that are no longer in the store
	Deleted  []string // IDs of the images that were removed with them
	Kept     error    // why layers that nothing needs may remain; else nil
}

// Remove removes a name from the store, or for an image's ID all names of that image,
// and then the images without a name, with the layers that no other image has. Like
// Docker, it removes an image by its ID only with force if its names are in several
// repositories.
//
// It returns [ErrInUse] and removes nothing if a container uses an image that would be left
// without a name, and [ErrNotFound] if the store has no such image. A full disk does not
// prevent a removal.
func (s *Store) Remove(name string, force bool) (*Removal, error) {
	r, err := parseReference(name, pathExists)
	if err != nil {
		return nil, err
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.sweep()
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	removed, err := x.removable(r, force)
	if err != nil {
		return nil, &Error{Op: "remove " + name, Err: err}
	}
	x.Manifests = slices.DeleteFunc(x.Manifests, func(d descriptor) bool {
		return slices.ContainsFunc(removed, func(gone descriptor) bool { return gone.Digest == d.Digest && gone.name() == d.name() })
	})
	done := &Removal{}
	var manifests []string
	for _, d := range removed {
		done.Untagged = append(done.Untagged, d.name())
		digest := d.Digest.String()
		if x.has(digest) || slices.Contains(manifests, digest) {
			continue
		}
		used, err := s.inUse(digest)
		if used {
			err = hint.With(ErrInUse, "stop the container, and remove it if it stays, first")
		}
		if err != nil {
			return nil, &Error{Op: "remove " + name, Err: err}
		}
		manifests = append(manifests, digest)
		done.Deleted = append(done.Deleted, d.Annotations[annotationID])
	}
	done.Kept, err = s.forget(x, manifests)
	if err != nil {
		return nil, &Error{Op: "remove " + name, Err: err}
	}
	return done, nil
}

// removable returns the entries that a reference means, or an error if Remove may not
// remove them.
func (x *index) removable(r reference, force bool) ([]descriptor, error) {
	found, err := x.named(r)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &Error{Err: ErrNotFound, Cause: CauseNoImage}
	}
	if force || found[0].matches(r) {
		return found, nil
	}
	names := make([]string, len(found))
	for i, d := range found {
		names[i] = shortName(d.name())
	}
	slices.Sort(names)
	if slices.ContainsFunc(names, func(n string) bool { return repositoryOf(n) != repositoryOf(names[0]) }) {
		return nil, &Error{
			Err:   errors.New("the image has names in several repositories: " + strings.Join(names, ", ")),
			Cause: CauseManyRepositories,
		}
	}
	return found, nil
}

// repositoryOf returns a name without its tag or digest. A file is a repository of
// its own.
func repositoryOf(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}

// forget writes the index x, which no longer has these manifests, and removes what
// nothing needs any more. On a full disk the removal comes first: a name without its
// manifest counts as removed.
func (s *Store) forget(x *index, manifests []string) (kept, err error) {
	err = s.writeIndex(x)
	if !isFull(err) {
		if err != nil {
			return nil, err
		}
		return s.collect(x), nil
	}
	for _, digest := range manifests {
		if err := os.Remove(s.blob(digest)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	kept = s.collect(x)
	if err := s.writeIndex(x); err != nil && (!isFull(err) || len(manifests) == 0) {
		return kept, err
	}
	return kept, nil
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
