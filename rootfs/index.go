package rootfs

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/hint"
)

const (
	annotationName     = "org.opencontainers.image.ref.name" // the image's full name
	annotationFullName = "io.containerd.image.name"          // the full name, in what Docker saves
	annotationKind     = "vnd.docker.reference.type"         // of an entry that BuildKit adds for an image
	annotationSource   = "dev.minirun.source"                // stamp of the file it was read from
	annotationFile     = "dev.minirun.file"                  // digest of that file, if it is the tarball of a root
	annotationIndex    = "dev.minirun.index"                 // digest that the registry returned for the name
	annotationID       = "dev.minirun.id"                    // digest of the configuration, Docker's image ID
	annotationSize     = "dev.minirun.size"                  // bytes of the layers' tars
)

// attestation is the annotationKind of BuildKit's attestations, which say how an image was
// built. They have the form of an image, and may have no platform.
const attestation = "attestation-manifest"

// index is index.json of the store, an OCI image layout.
type index struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType,omitempty"`
	Manifests     []descriptor    `json:"manifests"`
}

// descriptor is an entry of the index: an image under one of its names.
type descriptor struct{ v1.Descriptor }

func (d *descriptor) name() string { return d.Annotations[annotationName] }

// canPull reports whether a pull fetches the image again, from its registry or from its
// file. An image that was loaded, imported or bootstrapped has to be made again instead.
func (d *descriptor) canPull() bool {
	return d.Annotations[annotationIndex] != "" || d.Annotations[annotationSource] != ""
}

func (s *Store) readIndex() (*index, error) {
	data, err := atomicfile.Read(s.path("index.json"))
	if errors.Is(err, os.ErrNotExist) {
		return &index{SchemaVersion: 2, MediaType: types.OCIImageIndex}, nil
	}
	if err != nil && !errors.Is(err, atomicfile.ErrNotRegular) {
		return nil, err
	}
	var x index
	if json.Unmarshal(data, &x) != nil {
		err := fmt.Errorf("%s is damaged: it is not an index of images", s.path("index.json"))
		return nil, &Error{Op: "read the image store", Err: err, Cause: CauseIndex, Name: s.path("index.json")}
	}
	x.Manifests = slices.DeleteFunc(x.Manifests, func(d descriptor) bool { return !isDigest(d.Digest.String()) })
	return &x, nil
}

// writeIndex replaces index.json. The caller holds the store's lock.
func (s *Store) writeIndex(x *index) error {
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return atomicfile.WriteSync(s.path("index.json"), data, 0o600)
}

// find returns the entry for a name that fits the wanted platform best. If no
// platform was asked for, an image for another platform is better than none, as with
// Docker, unless the registry may have one for this machine.
func (x *index) find(r request) (*descriptor, error) {
	var best, other *descriptor
	found, err := x.named(r.reference)
	for i := range found {
		d := &found[i]
		if fit := fitOf(d.Platform, r.want); fit > 0 {
			if best == nil || fit > fitOf(best.Platform, r.want) {
				best = d
			}
			continue
		}
		if whole := d.Annotations[annotationIndex]; !r.asked && (whole == "" || whole == d.Digest.String() || r.transport == imageID) {
			other = d
		}
	}
	return cmp.Or(best, other), err
}

// named returns the entries that a reference means: those of its name, or else those
// of the image whose ID begins with it. It is an error if the IDs of several images
// do.
func (x *index) named(r reference) ([]descriptor, error) {
	var named, identified []descriptor
	for _, d := range x.Manifests {
		if d.matches(r) {
			named = append(named, d)
		}
		if r.id != "" && strings.HasPrefix(d.Annotations[annotationID], "sha256:"+r.id) {
			identified = append(identified, d)
		}
	}
	if named != nil {
		return named, nil
	}
	for _, d := range identified {
		if d.Annotations[annotationID] != identified[0].Annotations[annotationID] {
			return nil, hint.New("the IDs of several images begin with "+r.id, "write more digits")
		}
	}
	return identified, nil
}

func (d *descriptor) matches(r reference) bool {
	if d.name() == r.String() {
		return true
	}
	digest := r.digest()
	version, ok := strings.CutPrefix(d.name(), r.domain+"/"+r.repository)
	return digest != "" && (d.Digest.String() == digest || d.Annotations[annotationIndex] == digest) &&
		ok && (version == "" || version[0] == ':' || version[0] == '@')
}

// put adds an entry, which replaces one of the same name and platform, and one of the same
// image without a name. It reports whether a replaced entry was of another image.
func (x *index) put(d descriptor) (replaced bool) {
	x.Manifests = slices.DeleteFunc(x.Manifests, func(old descriptor) bool {
		same := old.isNameless() && old.Annotations[annotationID] == d.Annotations[annotationID] ||
			old.name() == d.name() && (old.Platform == nil || d.Platform == nil || old.Platform.Equals(*d.Platform))
		replaced = replaced || same && old.Digest != d.Digest
		return same
	})
	x.Manifests = append(x.Manifests, d)
	return replaced
}
