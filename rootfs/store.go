// Package rootfs turns an image argument into a root file system: it finds the image
// in the store or fetches it, unpacks its layers, and mounts an overlay of them.
package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
)

// Store keeps images in a directory:
//
//	oci-layout, index.json   an OCI image layout (image-spec, image-layout.md)
//	blobs/sha256/HEX         manifests, configurations, and packed layers that are kept
//	layers/sha256/HEX/       the unpacked layers, by diffID, each with files HEX.size and HEX.tar
//	empty/                   the layer of an image that has none
//	tmp/                     what is being fetched, with a lock on each directory, and
//	                         a locked file for each layer, claim-HEX
//	lock                     held by flock(2) while the store changes
//
// A layer or an index entry is complete or does not exist, whenever a process dies:
// both are added by rename(2). An image in use holds a shared lock on its manifest,
// and its layers are not removed. Several processes may use a store at a time.
type Store struct {
	root  string
	pause time.Duration // before a request is made again
}

// OpenStore opens the store in root, and makes it with mode 0700 if it does not exist.
// It returns an error if others may write to root.
func OpenStore(root string) (*Store, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &Store{root: abs, pause: retryPause}
	if err := CheckRoot(abs); err != nil { // before anything is made there
		return nil, err
	}
	if _, err := os.Stat(s.path("oci-layout")); err == nil {
		return s, checkFileSystem(abs)
	}
	for _, dir := range []string{"", "blobs/sha256", "layers/sha256", "tmp"} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return nil, &Error{Op: "open the image store", Err: err, Cause: CauseStore}
		}
	}
	if err := checkFileSystem(abs); err != nil {
		return nil, err
	}
	unlock, err := s.lock() // otherwise a sweep of another process may remove the temporary file
	if err != nil {
		return nil, &Error{Op: "open the image store", Err: err, Cause: CauseStore}
	}
	defer unlock()
	return s, atomicfile.WriteSync(s.path("oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600)
}

// CheckRoot returns an error if a directory cannot be that of a store. It belongs to another
// user, or others can write there: its layers become root file systems, and the states in it
// say which processes belong to containers. Or it has files of something else, such as a home
// directory: those below tmp and containers would be removed as what killed processes have
// left. The directory need not exist.
func CheckRoot(root string) error {
	var st unix.Stat_t
	err := unix.Stat(root, &st)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		err = &os.PathError{Op: "stat", Path: root, Err: err}
	case st.Uid != uint32(os.Geteuid()):
		err = fmt.Errorf("%s belongs to another user (%d)", root, st.Uid)
	case st.Mode&0o022 != 0:
		err = fmt.Errorf("%s can be written by others", root)
	default:
		err = checkContent(root)
	}
	if err == nil {
		return nil
	}
	return &Error{Op: "open the image store", Err: err, Cause: CauseStore}
}

// checkContent returns an error if a directory has files, and is no store.
func checkContent(root string) error {
	if _, err := os.Lstat(filepath.Join(root, "oci-layout")); err == nil {
		return nil
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	if has("blobs") && has("layers") { // oci-layout comes last, or was lost
		return nil
	}
	for _, entry := range entries {
		name := entry.Name()
		temporary, _ := filepath.Match(atomicfile.Pattern, name)
		if !temporary && !slices.Contains([]string{"blobs", "cache", "lock", "lost+found", "one-id"}, name) {
			return fmt.Errorf("%s is neither empty nor a store: it has %s", root, name)
		}
	}
	return nil
}

func (s *Store) path(elements ...string) string {
	return filepath.Join(append([]string{s.root}, elements...)...)
}

// blob and layer return the path for a digest, which must be valid (isDigest).
func (s *Store) blob(digest string) string { return s.path("blobs", digestPath(digest)) }

func (s *Store) layer(diffID string) string { return s.path("layers", digestPath(diffID)) }

func digestPath(digest string) string { return strings.Replace(digest, ":", "/", 1) }

// PullPolicy says when a registry is asked, like --pull of docker run.
type PullPolicy string

// The pull policies. The zero value is PullMissing.
const (
	PullAlways  PullPolicy = "always"
	PullMissing PullPolicy = "missing"
	PullNever   PullPolicy = "never"
)

// Event is a step of fetching an image.
type Event struct {
	Layer       string // digest or number of the layer that is being read, or "" for the whole image
	Status      string // "pulling" from a registry, "unpacking" a file, "waiting" for another process that does, "exists" in the store, "done"
	Done, Total int64  // bytes of the packed layer; Total 0 is unknown
}

// Progress is called with each step, from one goroutine at a time.
type Progress func(Event)

// serial returns a Progress that may be called by several goroutines at a time.
func (p Progress) serial() Progress {
	if p == nil {
		return nil
	}
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		p(e)
	}
}

func (p Progress) report(e Event) {
	if p != nil {
		p(e)
	}
}

// ResolveOptions are the choices of Resolve and Pull.
type ResolveOptions struct {
	Pull     PullPolicy
	Platform string // OS/ARCHITECTURE[/VARIANT]; "" is this machine
	Progress Progress
	Limits   Limits
	Warn     func(text string) // called with warnings, each one line; may be nil

	KeepPacked bool // keep the packed layers too, so that the image leaves the store as it came
}

func (o ResolveOptions) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn((&Error{Err: fmt.Errorf(format, args...)}).Error())
	}
}

// Image is a root file system to run.
type Image struct {
	Name   string   // full name: docker.io/library/debian:latest, dir:/srv/root
	Digest string   // of its manifest; "" for dir: and host:
	ID     string   // the digest of its configuration, or "" too
	Layers []string // absolute paths of directories, lowest first
	Config Config

	lock  *os.File
	files []string
}

// Files returns the files of the store by which the image was found. As long as none of
// them changes, and no layer is removed, the same name means the same image. It returns nil
// if what the name means is not decided by the store alone.
func (i *Image) Files() []string { return i.files }

// Close ends the use of the image: its layers may now be removed.
func (i *Image) Close() error {
	if i.lock == nil {
		return nil
	}
	return i.lock.Close()
}

// Lock returns the file that keeps the image's layers from being removed while it is open,
// so that it can be passed on through execve(2). It returns nil for an image that is not in
// the store.
func (i *Image) Lock() *os.File { return i.lock }

// ImageInfo is an image of the store.
type ImageInfo struct {
	Name     string            `json:"name"`
	Digest   string            `json:"digest"` // of the manifest
	ID       string            `json:"id"`     // digest of the configuration, Docker's image ID
	Platform string            `json:"platform"`
	Created  time.Time         `json:"created"`
	Size     int64             `json:"size"` // bytes of its layers, unpacked
	Labels   map[string]string `json:"labels,omitempty"`
	Problem  string            `json:"problem,omitempty"` // why the image cannot be used

	CanPull bool `json:"-"` // a pull gets it again, from its registry or its file
}

// open locks an image of the store and reads its manifest and configuration. It
// returns os.ErrNotExist if the image was removed since the index was read.
func (s *Store) open(d *descriptor) (*Image, error) {
	lock, err := lockShared(s.blob(d.Digest.String()))
	if err != nil {
		return nil, readError(d, err)
	}
	image, err := s.readImage(d)
	if err != nil {
		_ = lock.Close()
		return nil, readError(d, err)
	}
	image.lock = lock
	return image, nil
}

// Reopen opens the image whose manifest has this digest, whatever its names are now.
func (s *Store) Reopen(digest string) (*Image, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	for _, d := range x.Manifests {
		if d.Digest.String() == digest {
			return s.open(&d)
		}
	}
	return nil, &Error{Op: "open image " + digest, Err: ErrNotFound, Cause: CauseNoImage}
}

// readError returns the error of an image that cannot be read.
func readError(d *descriptor, err error) error {
	e := &Error{Op: "read image " + d.name(), Err: err}
	if errors.Is(err, ErrDamaged) {
		e.Cause, e.Name = CauseDamagedHere, shortName(d.name())
		if d.canPull() {
			e.Cause = CauseDamaged
		}
	}
	return e
}

func (s *Store) readImage(d *descriptor) (*Image, error) {
	m, config, err := s.readManifest(d.Digest.String())
	if err != nil {
		return nil, err
	}
	image := &Image{Name: d.name(), Digest: d.Digest.String(), ID: d.Annotations[annotationID], Config: config.config()}
	for _, diffID := range config.RootFS.DiffIDs {
		layer := s.layer(diffID)
		if _, err := os.Stat(layer); err != nil {
			return nil, missing(err)
		}
		// A layer that occurs twice is used at its highest position: overlayfs takes
		// each directory once.
		image.Layers = slices.DeleteFunc(image.Layers, func(l string) bool { return l == layer })
		image.Layers = append(image.Layers, layer)
	}
	if len(image.Layers) == 0 {
		empty, err := s.emptyLayer()
		if err != nil {
			return nil, err
		}
		image.Layers = []string{empty}
	}
	image.files = []string{s.path("index.json"), s.blob(image.Digest), s.blob(m.Config.Digest.String())}
	return image, nil
}

// emptyLayer returns the layer of an image without layers: overlayfs needs one.
func (s *Store) emptyLayer() (string, error) {
	dir := s.path("empty")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// readManifest reads a manifest and its configuration. It returns os.ErrNotExist if
// the manifest does not exist, and ErrDamaged if the configuration does not or either
// has changed.
func (s *Store) readManifest(digest string) (*v1.Manifest, *configFile, error) {
	data, err := s.readBlob(digest)
	if err != nil {
		return nil, nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, nil, fmt.Errorf("%w: manifest %s: %w", ErrDamaged, digest, err)
	}
	if data, err = s.readBlob(m.Config.Digest.String()); err != nil {
		return nil, nil, missing(err)
	}
	config, err := parseConfig(data)
	return &m, config, err
}

// missing turns os.ErrNotExist for a part of an image into ErrDamaged.
func missing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// readBlob reads a blob and checks its digest.
func (s *Store) readBlob(digest string) ([]byte, error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("%w: %q is not a SHA-256", ErrDamaged, digest)
	}
	data, err := atomicfile.Read(s.blob(digest))
	if err != nil {
		return nil, err
	}
	if got := digestOf(data); got != digest {
		return nil, fmt.Errorf("%w: blob %s has the digest %s", ErrDamaged, digest, got)
	}
	return data, nil
}

// Images returns the store's images, sorted by name. An image that cannot be read has
// a Problem, and otherwise only what the index knows.
func (s *Store) Images() ([]ImageInfo, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	images := []ImageInfo{}
	for _, d := range x.Manifests {
		info, err := s.info(&d)
		if err != nil && isGone(err) {
			continue
		}
		if err != nil {
			info.Problem = (&Error{Err: err}).Error()
		}
		images = append(images, *info)
	}
	slices.SortFunc(images, func(a, b ImageInfo) int {
		return strings.Compare(a.Name+" "+a.Platform, b.Name+" "+b.Platform)
	})
	return images, nil
}

// info describes an image. With an error it returns what the index knows.
func (s *Store) info(d *descriptor) (*ImageInfo, error) {
	info := &ImageInfo{Name: d.name(), Digest: d.Digest.String(), ID: d.Annotations[annotationID], CanPull: d.canPull()}
	info.Size, _ = strconv.ParseInt(d.Annotations[annotationSize], 10, 64)
	if d.Platform != nil {
		info.Platform = d.Platform.String()
	}
	m, config, err := s.readManifest(d.Digest.String())
	if err != nil {
		return info, err
	}
	info.ID, info.Labels = m.Config.Digest.String(), config.Config.Labels
	info.Platform = config.platform().String()
	if config.Created != nil {
		info.Created = *config.Created
	}
	for _, diffID := range config.RootFS.DiffIDs {
		if _, err := os.Stat(s.layer(diffID)); err != nil {
			return info, missing(err)
		}
	}
	return info, nil
}

func (x *index) has(digest string) bool {
	return slices.ContainsFunc(x.Manifests, func(d descriptor) bool { return d.Digest.String() == digest })
}
