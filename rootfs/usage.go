package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Usage is what a store takes on the disk.
type Usage struct {
	Parts  []PartUsage  `json:"parts"`
	Images []ImageUsage `json:"images"`
}

// PartUsage is what one kind of things takes on the disk.
type PartUsage struct {
	Type        string `json:"type"`
	Total       int    `json:"total"`
	Active      int    `json:"active"`      // in use by running containers
	Size        int64  `json:"size"`        // bytes on the disk, with the blocks that files do not fill
	Reclaimable int64  `json:"reclaimable"` // of those that are not active
}

// ImageUsage is what an image takes on the disk.
type ImageUsage struct {
	ImageInfo
	Shared int64 `json:"shared"` // bytes of layers that other images have too
	Unique int64 `json:"unique"` // bytes of the others
	Active bool  `json:"active"` // a container uses it
}

// Usage measures the store. Images has an entry for each name; its Size is that on the
// disk. An image that cannot be read has no layers here.
func (s *Store) Usage() (*Usage, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	m := measure{store: s, layers: map[string]int64{}, users: map[string]int{}, active: map[string]bool{}}
	if err := m.images(x); err != nil {
		return nil, err
	}
	return m.usage()
}

type measure struct {
	store  *Store
	all    []measured
	layers map[string]int64 // bytes on the disk, by diffID, of those that images have
	users  map[string]int   // images with that layer
	active map[string]bool  // layers of images in use
}

type measured struct {
	ImageUsage
	diffIDs []string
	packed  []string
}

// images measures the layers of the images that the index names.
func (m *measure) images(x *index) error {
	seen := map[string]bool{}
	for _, d := range x.Manifests {
		info, err := m.store.info(&d)
		if err != nil && isGone(err) {
			continue
		}
		one := measured{ImageUsage: ImageUsage{ImageInfo: *info}}
		if one.Active, err = m.store.inUse(d.Digest.String()); err != nil {
			return err
		}
		manifest, config, err := m.store.readManifest(d.Digest.String())
		if err == nil {
			one.diffIDs = slices.Compact(slices.Sorted(slices.Values(config.RootFS.DiffIDs)))
			for _, l := range manifest.Layers {
				one.packed = append(one.packed, l.Digest.String())
			}
		}
		for _, diffID := range one.diffIDs {
			if !seen[info.ID] {
				m.users[diffID]++
			}
			m.active[diffID] = m.active[diffID] || one.Active
			if _, known := m.layers[diffID]; !known {
				if m.layers[diffID], err = m.store.layerUsage(diffID); err != nil {
					return err
				}
			}
		}
		seen[info.ID] = true
		m.all = append(m.all, one)
	}
	return nil
}

func (m *measure) usage() (*Usage, error) {
	u := &Usage{Images: []ImageUsage{}}
	images := PartUsage{Type: "Images"}
	seen, packed := map[string]bool{}, map[string]bool{}
	for _, one := range m.all {
		one.Size = 0
		for _, diffID := range one.diffIDs {
			if size := m.layers[diffID]; m.users[diffID] > 1 {
				one.Shared += size
			} else {
				one.Unique += size
			}
		}
		one.Size = one.Shared + one.Unique
		u.Images = append(u.Images, one.ImageUsage)
		for _, digest := range one.packed {
			packed[digest] = true
		}
		if !seen[one.ID] {
			seen[one.ID] = true
			images.Total++
			if one.Active {
				images.Active++
			}
		}
	}
	for diffID, size := range m.layers {
		images.Size += size
		if !m.active[diffID] {
			images.Reclaimable += size
		}
	}
	slices.SortFunc(u.Images, func(a, b ImageUsage) int { return strings.Compare(a.Name+" "+a.Platform, b.Name+" "+b.Platform) })
	rest, err := m.rest(packed)
	u.Parts = append([]PartUsage{images}, rest...)
	return u, err
}

// rest measures the packed layers, and the unpacked ones that no image has.
func (m *measure) rest(packed map[string]bool) ([]PartUsage, error) {
	s := m.store
	kept, unused := PartUsage{Type: "Packed layers"}, PartUsage{Type: "Unused layers"}
	blobs, err := digestsIn(s.path("blobs/sha256"))
	if err != nil {
		return nil, err
	}
	for _, digest := range blobs {
		if packed[digest] {
			size, err := diskUsage(s.blob(digest))
			if err != nil {
				return nil, err
			}
			kept.Total, kept.Size, kept.Reclaimable = kept.Total+1, kept.Size+size, kept.Reclaimable+size
		}
	}
	layers, err := digestsIn(s.path("layers/sha256"))
	if err != nil {
		return nil, err
	}
	for _, diffID := range layers {
		if _, needed := m.layers[diffID]; needed {
			continue
		}
		size, err := s.layerUsage(diffID)
		if err != nil {
			return nil, err
		}
		unused.Total, unused.Size, unused.Reclaimable = unused.Total+1, unused.Size+size, unused.Reclaimable+size
	}
	return []PartUsage{kept, unused}, nil
}

// layerUsage returns the bytes that a layer and the files beside it take.
func (s *Store) layerUsage(diffID string) (int64, error) {
	var all int64
	for _, suffix := range []string{"", sizeSuffix, recordSuffix} {
		size, err := diskUsage(s.layer(diffID) + suffix)
		if err != nil {
			return 0, err
		}
		all += size
	}
	return all, nil
}

// diskUsage returns the bytes that a file or a directory tree takes on the disk, as
// du(1) does: a file with several names counts once. What does not exist takes none.
func diskUsage(path string) (int64, error) {
	var total int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(path, func(file string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(file, &st)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil {
			return &os.PathError{Op: "measure", Path: file, Err: err}
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}
