package rootfs

import (
	"errors"
	"strings"

	"github.com/minirun/minirun/internal/hint"
)

// Tag gives an image of the store another name. An image that had that name, and has no
// other, is removed, unless a container uses it. It returns [ErrNotFound] if the store has
// no image source.
func (s *Store) Tag(source, target string) error {
	op := "tag " + source
	from, err := newRequest(source, ResolveOptions{})
	if err != nil {
		return err
	}
	to, err := newName(target)
	if err != nil {
		return &Error{Op: op, Err: err}
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
	if err := s.writeIndex(x); err != nil {
		return err
	}
	_ = s.collect(x) // what only the replaced entry needed; a later removal tries again
	return nil
}

// newName parses the name that an image is to get.
func newName(text string) (reference, error) {
	r, err := parseReference(text, func(string) bool { return false })
	if err == nil && (r.transport != registry || r.digest() != "" || len(r.id) == digestLength) {
		err = errors.New(quote(text) + " cannot be an image's new name")
	}
	return r, hint.With(err, "write NAME[:TAG]")
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

// renamed returns the entry under another name, without what it says of the registry or the
// file that the old name came from.
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

// isNameless reports whether an entry has the image's ID in place of a name.
func (d *descriptor) isNameless() bool { return strings.HasPrefix(d.name(), "sha256:") }
