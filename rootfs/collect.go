package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/removeall"
)

// collect removes the manifests, configurations and layers that no name of x and
// no running container needs. If an image cannot be read, what it needs is unknown:
// then collect returns an error and removes no layer. The caller holds the store's
// lock.
func (s *Store) collect(x *index) error {
	c := collector{store: s, needed: map[string]bool{}}
	for _, d := range x.Manifests {
		if err := c.need(d.Digest.String()); err != nil {
			return fmt.Errorf("no layers are removed, because image %s cannot be read: %w", shortName(d.name()), err)
		}
	}
	if err := c.blobs(); err != nil {
		return err
	}
	return c.layers()
}

type collector struct {
	store  *Store
	needed map[string]bool // digests of blobs and layers
}

// need marks the parts of the image with this manifest as needed. If the manifest does not
// exist, the image was removed.
func (c *collector) need(manifest string) error {
	m, config, err := c.store.readManifest(manifest)
	if errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrDamaged) {
		return nil
	}
	if err != nil {
		return err
	}
	c.needed[manifest], c.needed[m.Config.Digest.String()] = true, true
	for _, diffID := range config.RootFS.DiffIDs {
		c.needed[diffID] = true
	}
	for _, packed := range m.Layers { // if they are kept
		c.needed[packed.Digest.String()] = true
	}
	return nil
}

// blobs removes the blobs that are not needed. Manifests come first: a process that has
// opened one meanwhile needs its configuration too.
func (c *collector) blobs() error {
	digests, err := digestsIn(c.store.path("blobs/sha256"))
	if err != nil {
		return err
	}
	var others []string
	for _, digest := range digests {
		if c.needed[digest] {
			continue
		}
		isManifest, err := c.store.isManifest(digest)
		if err != nil {
			return err
		}
		if !isManifest {
			others = append(others, digest)
			continue
		}
		if err := c.removeBlob(digest); err != nil {
			return err
		}
	}
	for _, digest := range others {
		if c.needed[digest] {
			continue
		}
		if err := c.removeBlob(digest); err != nil {
			return err
		}
	}
	return nil
}

// removeBlob removes a blob, unless it is the manifest of an image in use, whose parts
// it marks as needed. A process that waits for the lock meanwhile finds that the blob
// no longer exists (lockShared).
func (c *collector) removeBlob(digest string) error {
	path := c.store.blob(digest)
	f, err := lockIfFree(path)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return c.need(digest)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return os.Remove(path)
}

// isManifest reports whether a blob is a manifest. A configuration has no
// field config with a digest.
func (s *Store) isManifest(digest string) (bool, error) {
	info, err := os.Stat(s.blob(digest))
	if err != nil || info.Size() > maxManifest { // a packed layer
		return false, err
	}
	data, err := atomicfile.Read(s.blob(digest))
	if err != nil {
		return false, err
	}
	var m v1.Manifest
	return json.Unmarshal(data, &m) == nil && isDigest(m.Config.Digest.String()), nil
}

// layers removes the layers that are not needed, except those that a pull has locked for
// its image.
func (c *collector) layers() error {
	s := c.store
	layers, err := digestsIn(s.path("layers/sha256"))
	for _, diffID := range layers {
		if c.needed[diffID] {
			continue
		}
		f, busy := lockIfFree(s.layer(diffID))
		if errors.Is(busy, unix.EWOULDBLOCK) {
			continue
		}
		if busy != nil {
			err = errors.Join(err, busy)
			continue
		}
		// Through tmp: a partly removed layer must not be taken for a whole one.
		trash := s.path("tmp", "removed-"+digestHex(diffID))
		err = errors.Join(err, os.Rename(s.layer(diffID), trash), removeall.Remove(trash),
			os.Remove(s.layer(diffID)+sizeSuffix), removeall.Remove(s.layer(diffID)+recordSuffix))
		_ = f.Close()
	}
	return err
}

func digestHex(digest string) string { return digest[len("sha256:"):] }

func digestsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var digests []string
	for _, entry := range entries {
		if digest := "sha256:" + entry.Name(); isDigest(digest) {
			digests = append(digests, digest)
		}
	}
	return digests, err
}
