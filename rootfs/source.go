package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/minirun/minirun/internal/spelling"
)

// Resolve finds the image that ref means and makes it ready to be mounted:
//
//	dir:PATH                     a folder, as it is
//	host:                        the host's own root, without what is mounted below it
//	a path to a tarball          of a root, or as docker save or an OCI tool wrote it
//	docker-archive:PATH[:NAME]   by docker save
//	oci-archive:PATH[:TAG]       a tarball of an OCI layout
//	oci:PATH[:TAG]               an OCI layout
//	NAME[:TAG][@DIGEST]          from the store, else from its registry
//	an image's ID                from the store; its first digits are enough
//
// A tarball or layout is read into the store the first time and again when it
// has changed. The image stays in the store until Close. An image that is
// nowhere gives ErrNotFound and a text that says where it was looked for.
func (s *Store) Resolve(ctx context.Context, ref string, o ResolveOptions) (*Image, error) {
	r, err := parseReference(ref, pathExists)
	if err != nil {
		return nil, err
	}
	switch r.transport {
	case hostRoot:
		return &Image{Name: r.String(), Layers: []string{"/"}}, nil
	case directory:
		return openDirectory(r)
	}
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	stamp, err := r.stamp()
	if err != nil {
		return nil, err
	}
	if o.Pull != PullAlways {
		image, err := s.stored(r, want, o.Platform != "", stamp)
		if image != nil || err != nil {
			return image, err
		}
	}
	if o.Pull == PullNever && r.transport == registry {
		return nil, s.notFound(r, nil)
	}
	if _, err := s.fetch(ctx, r, want, o.Progress); err != nil {
		return nil, err
	}
	image, err := s.stored(r, want, o.Platform != "", stamp)
	if image == nil && err == nil {
		err = s.notFound(r, errors.New("it was removed while it was fetched"))
	}
	return image, err
}

// stored gives the image when the store has it, and has it of this state of
// the file; else nil.
func (s *Store) stored(r reference, want platform, asked bool, stamp string) (*Image, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	d, err := x.find(r, want, asked)
	if err != nil {
		return nil, &Error{Op: "image " + r.short(), Err: err, Help: hintOf(err)}
	}
	if d == nil || d.Annotations[annotationSource] != stamp && stamp != "" {
		return nil, nil
	}
	image, err := s.open(d)
	if err != nil && isGone(err) {
		return nil, nil
	}
	return image, err
}

// isGone tells an image that was removed since the index was read from one that
// is damaged.
func isGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrDamaged)
}

func (s *Store) notFound(r reference, registryAnswer error) error {
	places := "not in the store (" + s.root + ")"
	help := "'minirun pull " + r.short() + "' fetches it"
	err := fmt.Errorf("%w: %s", ErrNotFound, places)
	if r.transport == imageID {
		help = "'minirun images' lists the images of the store"
	}
	if registryAnswer != nil {
		err = fmt.Errorf("%w: %s, and %s answers: %w", ErrNotFound, places, r.domain, registryAnswer)
		help = "check the name, or use dir:PATH, a tarball's path, or host:"
	}
	if r.domain == dockerHub && r.repository == "library/debian" {
		help = "'minirun bootstrap " + strings.TrimSuffix(r.short(), ":latest") + "' makes it from Debian's package mirrors"
	}
	if near := spelling.Nearest(r.short(), s.names()); near != "" {
		help = "did you mean " + near + "?"
	}
	return &Error{Op: "image " + r.short(), Err: err, Help: help}
}

// names are those of the store's images, as one would type them.
func (s *Store) names() []string {
	x, err := s.readIndex()
	if err != nil {
		return nil // there is an error to tell of already
	}
	var names []string
	for _, d := range x.Manifests {
		names = append(names, shortName(d.name()))
	}
	return names
}

// short is the name as one would type it.
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
		return nil, &Error{Op: "image " + r.String(), Err: err, Help: "dir: takes the folder of a root file system"}
	}
	return &Image{Name: r.String(), Layers: []string{dir}}, nil
}

// stamp tells whether the file of a reference has changed: it is that of its
// inode. A layout's is that of its index.json.
func (r reference) stamp() (string, error) {
	if r.transport == registry || r.transport == imageID {
		return "", nil
	}
	file := r.path
	if r.transport == ociLayout {
		file = filepath.Join(file, "index.json")
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", &Error{Op: "image " + r.String(), Err: err, Help: "a path begins with / or ./; without it, it is the name of an image"}
	}
	if info.IsDir() {
		return "", &Error{Op: "image " + r.String(), Err: errors.New("it is a folder"), Help: "write dir:" + r.path + ", or oci:" + r.path + " for an OCI layout"}
	}
	if !info.Mode().IsRegular() {
		return "", &Error{Op: "image " + r.String(), Err: errors.New("it is not a regular file")}
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d:%d:%d:%d", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()), nil
}

// fetch brings the image into the store.
func (s *Store) fetch(ctx context.Context, r reference, want platform, progress Progress) (*ImageInfo, error) {
	switch r.transport {
	case registry:
		return s.pull(ctx, r, want, progress)
	case imageID:
		return nil, s.notFound(r, nil)
	}
	info, err := s.load(ctx, r, want, progress)
	if err != nil {
		return nil, &Error{Op: "image " + r.String(), Err: err, Help: hintOf(err)}
	}
	return info, nil
}

func hintOf(err error) string {
	var told *Error
	if errors.As(err, &told) {
		return told.Help
	}
	return ""
}
