package rootfs

import (
	"slices"
	"strings"

	"github.com/minirun/minirun/internal/hint"
)

// Tag gives an image of the store another name. An image that had that name, and has
// no other, is removed, unless a container runs on it. It returns [ErrNotFound] if
// the store has no image source.
func (s *Store) Tag(source, target string) error {
	op := "tag " + source
	from, err := newRequest(source, ResolveOptions{})
	if err != nil {
		return err
	}
	to, err := parseReference(target, func(string) bool { return false })
	if err == nil && (to.transport != registry || to.digest() != "" || len(to.id) == digestLength) {
		err = &Error{Op: op, Err: hint.New(quote(target)+" cannot be an image's new name", "write NAME[:TAG]")}
	}
	if err != nil {
		return err
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	x, err := s.readIndex()
	if err != nil {
		return err
	}
	d, err := x.one(from)
	if err == nil {
		_, err = s.readBlob(d.Digest.String())
	}
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	x.put(d.renamed(to.String()))
	x.dropNameless(d.Digest.String())
	if err := s.writeIndex(x); err != nil {
		return err
	}
	_ = s.collect(x) // what only the replaced entry needed; a later removal tries again
	return nil
}

// one returns the entry that a request means, or an error that is [ErrNotFound] if
// there is none.
func (x *index) one(r request) (*descriptor, error) {
	d, err := x.find(r)
	if err != nil || d != nil {
		return d, err
	}
	found, err := x.named(r.reference)
	if err == nil && len(found) == 0 {
		err = &Error{Err: ErrNotFound, Cause: CauseNoImage}
	}
	if err != nil {
		return nil, err
	}
	if r.asked || len(found) > 1 {
		var have []string
		for _, d := range found {
			if d.Platform != nil {
				have = append(have, d.Platform.String())
			}
		}
		return nil, otherPlatform(have, r.want)
	}
	return &found[0], nil
}

// renamed returns the entry under another name, which no registry and no file has
// given it.
func (d *descriptor) renamed(name string) descriptor {
	other := *d
	other.Annotations = map[string]string{annotationName: name}
	for _, key := range []string{annotationID, annotationSize} {
		if value, ok := d.Annotations[key]; ok {
			other.Annotations[key] = value
		}
	}
	return other
}

// isNameless reports whether an entry has no name, but the image's ID instead.
func (d *descriptor) isNameless() bool { return strings.HasPrefix(d.name(), "sha256:") }

// dropNameless removes the nameless entries of an image that has a name.
func (x *index) dropNameless(manifest string) {
	x.Manifests = slices.DeleteFunc(x.Manifests, func(d descriptor) bool { return d.Digest.String() == manifest && d.isNameless() })
}
