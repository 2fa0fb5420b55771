package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/sys/userns"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/spelling"
)

// Resolve finds the image that ref means and makes it ready to be mounted:
//
//	dir:PATH                     a directory, as it is
//	host:                        the host's root, without what is mounted below it
//	a path to a tarball          of a root, or as docker save or an OCI tool wrote it
//	docker-archive:PATH[:NAME]   by docker save
//	oci-archive:PATH[:TAG]       a tarball of an OCI layout
//	oci:PATH[:TAG]               an OCI layout
//	docker-daemon:NAME[:TAG]     from a running dockerd
//	NAME[:TAG][@DIGEST]          from the store, else from its registry
//	an image's ID                from the store; its first digits are enough
//
// A tarball, a layout or an image of a dockerd is read into the store the first time, and
// again when it has changed. The image stays in the store until Close. If there is no such image, the
// error is [ErrNotFound] and says where it was looked for.
func (s *Store) Resolve(ctx context.Context, ref string, o ResolveOptions) (*Image, error) {
	r, err := newRequest(ref, o)
	if err != nil {
		return nil, err
	}
	switch r.transport {
	case hostRoot:
		if err := r.checkPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}); err != nil {
			return nil, &Error{Op: "image host:", Err: err}
		}
		if userns.RunningInUserNS() { // the mounts below are locked (mount_namespaces(7)), and overlayfs refuses that
			return nil, &Error{Op: "host:", Err: errors.New("as a user the host's root cannot be a layer"), Cause: CauseHostRoot}
		}
		return &Image{Name: r.String(), Layers: []string{"/"}}, nil
	case directory:
		return openDirectory(r.reference)
	}
	stamp, err := r.stamp(ctx)
	if err != nil {
		return nil, &Error{Op: "image " + r.String(), Err: err}
	}
	if o.Pull != PullAlways {
		image, err := s.stored(r, stamp)
		if image != nil || err != nil {
			return image, err
		}
	}
	if o.Pull == PullNever && r.transport == registry {
		return nil, s.notFound(r, nil)
	}
	if _, err := s.fetch(ctx, r); err != nil {
		return nil, err
	}
	image, err := s.stored(r, stamp)
	if image == nil && err == nil {
		err = &Error{Op: "image " + r.short(), Err: errors.New("the image was removed while it was fetched")}
	}
	return image, err
}

// Present is Resolve for the name of an image that the store has already. It asks neither a
// registry nor a dockerd, and returns nil for everything else.
func (s *Store) Present(ref string, o ResolveOptions) (*Image, error) {
	r, err := newRequest(ref, o)
	if err != nil || r.transport != registry || o.Pull == PullAlways {
		return nil, err
	}
	image, err := s.stored(r, "")
	if image != nil && isTarballName(ref) { // a file of that name would be preferred, and may appear at any time
		image.files = nil
	}
	return image, err
}

// request is an image that is asked for.
type request struct {
	reference
	want  v1.Platform
	asked bool // want was asked for; otherwise it is that of this machine
	ResolveOptions
}

func newRequest(ref string, o ResolveOptions) (request, error) {
	r, err := parseReference(ref, pathExists)
	if err != nil {
		return request{}, err
	}
	want, err := parsePlatform(o.Platform)
	return request{reference: r, want: want, asked: o.Platform != "", ResolveOptions: o}, err
}

// stored returns the image if the store has it, made of the file in its present
// state, and nil otherwise.
func (s *Store) stored(r request, stamp string) (*Image, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	d, err := x.find(r)
	if err != nil {
		return nil, &Error{Op: "image " + r.short(), Err: err}
	}
	if d == nil || d.Annotations[annotationSource] != stamp && stamp != "" {
		return nil, nil
	}
	image, err := s.open(d)
	if err != nil && isGone(err) {
		return nil, nil
	}
	if err == nil && fitOf(d.Platform, r.want) == 0 {
		r.warn("image %s is for %s, but this machine is %s", r.short(), d.Platform, r.want)
	}
	return image, err
}

// isGone reports whether an image was removed since the index was read, and is not
// damaged.
func isGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrDamaged)
}

// notFound returns the error for an image that does not exist, which says where it was
// looked for. answer is that of the registry, or nil if no registry was asked.
func (s *Store) notFound(r request, answer error) error {
	if have := s.platformsOf(r.reference); len(have) > 0 && answer == nil {
		return &Error{
			Op: "image " + r.short(), Err: otherPlatform(have, r.want),
			Cause: CauseOtherPlatform, Name: r.short(), Platform: r.want.String(),
		}
	}
	e := &Error{Op: "image " + r.short(), Err: fmt.Errorf("%w: not in the store (%s)", ErrNotFound, s.root), Cause: CauseNotFetched, Name: r.short()}
	if r.transport == imageID {
		e.Cause = CauseNoImage
	}
	var help string
	if answer != nil {
		e.Err, e.Cause = fmt.Errorf("%w, and %s answers: %w", e.Err, r.domain, answer), 0
		help = "check the name, or use dir:PATH, a tarball's path, or host:"
	}
	return s.orElsewhere(r.reference, e, help)
}

// orElsewhere returns an error with a hint on where else an image may be, or else with help
// as its hint.
func (s *Store) orElsewhere(r reference, e *Error, help string) error {
	if have := s.platformsOf(r); len(have) > 0 {
		return hint.With(e, "the store has it for "+strings.Join(have, ", "))
	}
	if near := spelling.Nearest(r.short(), s.names()); near != "" {
		return hint.With(e, "did you mean "+near+"?")
	}
	if r.domain == dockerHub && r.repository == "library/debian" {
		e.Cause, e.Name = CauseDebian, r.short()
		return e
	}
	return hint.With(e, help)
}

// platformsOf returns the platforms for which the store has an image of this name.
func (s *Store) platformsOf(r reference) []string {
	x, err := s.readIndex()
	if err != nil {
		return nil // the caller has an error to report already
	}
	found, _ := x.named(r)
	var have []string
	for _, d := range found {
		if d.Platform != nil {
			have = append(have, d.Platform.String())
		}
	}
	return have
}

// names returns the short names of the store's images.
func (s *Store) names() []string {
	x, err := s.readIndex()
	if err != nil {
		return nil // the caller has an error to report already
	}
	var names []string
	for _, d := range x.Manifests {
		names = append(names, shortName(d.name()))
	}
	return names
}

// short returns the name as users write it.
func (r reference) short() string { return shortName(r.String()) }

func shortName(full string) string {
	text := strings.TrimSuffix(full, ":latest")
	text = strings.TrimPrefix(text, dockerHub+"/")
	return strings.TrimPrefix(text, "library/")
}

func openDirectory(r reference) (*Image, error) {
	dir, err := filepath.EvalSymlinks(r.path)
	if err == nil {
		var info os.FileInfo
		if info, err = os.Stat(dir); err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "open", Path: r.path, Err: syscall.ENOTDIR}
		}
	}
	if err != nil {
		return nil, hint.With(&Error{Op: "image " + r.String(), Err: err}, "dir: takes the directory of a root file system")
	}
	return &Image{Name: r.String(), Layers: []string{dir}}, nil
}

// stamp returns a text that changes when the file of a reference changes: its inode, size
// and times. For a layout the file is its index.json. For an image of a dockerd the stamp
// is the image's ID.
func (r reference) stamp(ctx context.Context) (string, error) {
	switch r.transport {
	case registry, imageID:
		return "", nil
	case dockerDaemon:
		d, err := newDaemon()
		var id string
		if err == nil {
			id, err = d.imageID(ctx, r.path)
		}
		return id, err
	}
	file := r.path
	if r.transport == ociLayout {
		file = filepath.Join(file, "index.json")
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", hint.With(err, "a path begins with / or ./; anything else is the name of an image")
	}
	if info.IsDir() {
		return "", hint.New("it is a directory", "write dir:"+r.path+", or oci:"+r.path+" for an OCI layout")
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d:%d:%d:%d", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()), nil
}

// fetch adds the image to the store.
func (s *Store) fetch(ctx context.Context, r request) (*ImageInfo, error) {
	switch r.transport {
	case registry:
		return s.pull(ctx, r)
	case imageID:
		return nil, s.notFound(r, nil)
	}
	info, err := s.load(ctx, r)
	if err != nil {
		return nil, &Error{Op: "image " + r.String(), Err: err}
	}
	return info, nil
}

// addFor adds content to the store if it is for the platform that was asked for.
func (s *Store) addFor(ctx context.Context, r request, c *content) (*ImageInfo, error) {
	have, err := c.platform()
	if err == nil {
		err = r.checkPlatform(have)
	}
	if err != nil {
		return nil, err
	}
	c.keep = r.KeepPacked
	c.limits, c.warn = r.Limits, r.warn
	return s.add(ctx, c, r.Progress)
}
