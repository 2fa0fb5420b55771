package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock waits for the store's lock and returns what releases it. A process that
// dies releases its locks.
func (s *Store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return fmt.Errorf("lock %s: %w", f.Name(), err)
			}
			return nil
		}
	}
}

// lockShared takes a shared lock on a file or folder of the store, and returns
// os.ErrNotExist when it was removed meanwhile.
func lockShared(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		_ = f.Close()
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(path); err == nil && !os.SameFile(opened, there) {
			err = &os.PathError{Op: "lock", Path: path, Err: os.ErrNotExist}
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// lockIfFree takes the lock for itself alone, unless somebody has it.
func lockIfFree(path string) (f *os.File, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, false
	}
	return f, true
}

// inUse tells whether somebody runs on the image of this manifest.
func (s *Store) inUse(digest string) bool {
	f, free := lockIfFree(s.blob(digest))
	if free {
		_ = f.Close()
		return false
	}
	_, err := os.Stat(s.blob(digest))
	return err == nil
}

// workDir is a folder of the store that lives as long as its process.
type workDir struct {
	path string
	lock *os.File
}

// newWorkDir makes one, and removes those that dead processes left.
func (s *Store) newWorkDir() (*workDir, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.sweep(); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(s.path("tmp"), "")
	if err != nil {
		return nil, err
	}
	f, err := lockShared(path)
	if err != nil {
		_ = os.RemoveAll(path)
		return nil, err
	}
	return &workDir{path, f}, nil
}

func (w *workDir) join(name string) string { return filepath.Join(w.path, name) }

func (w *workDir) remove() error {
	defer w.lock.Close()
	return os.RemoveAll(w.path)
}

// sweep removes what dead processes left: work folders whose lock is free, and
// files that were never renamed. The caller holds the store's lock.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := s.path("tmp", entry.Name())
		if f, free := lockIfFree(path); free {
			err = errors.Join(err, os.RemoveAll(path))
			_ = f.Close()
		}
	}
	for _, dir := range []string{"", "blobs/sha256"} {
		files, _ := filepath.Glob(s.path(dir, ".new-*"))
		for _, file := range files {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}

// collect removes the manifests, configurations and layers that no name and no
// running container needs. The caller holds the store's lock.
func (s *Store) collect(x *index) error {
	needed := map[string]bool{}
	var dead []*os.File
	defer func() {
		for _, f := range dead {
			_ = f.Close()
		}
	}()
	blobs, err := digestsIn(s.path("blobs/sha256"))
	if err != nil {
		return err
	}
	for _, digest := range blobs {
		m, config, err := s.readManifest(digest)
		if err != nil || len(m.Layers) == 0 {
			continue // a configuration
		}
		if !x.has(digest) {
			// The lock is kept until the layers are gone: who opens the image
			// now waits, and finds that it was removed.
			if f, free := lockIfFree(s.blob(digest)); free {
				dead = append(dead, f)
				continue
			}
		}
		needed[digest], needed[m.Config.Digest] = true, true
		for _, diffID := range config.RootFS.DiffIDs {
			needed[diffID] = true
		}
	}
	for _, digest := range blobs {
		if !needed[digest] {
			err = errors.Join(err, os.Remove(s.blob(digest)))
		}
	}
	return errors.Join(err, s.collectLayers(needed))
}

// collectLayers removes layers, except those that a pull has locked since it
// will need them.
func (s *Store) collectLayers(needed map[string]bool) error {
	layers, err := digestsIn(s.path("layers/sha256"))
	for _, diffID := range layers {
		if needed[diffID] {
			continue
		}
		f, free := lockIfFree(s.layer(diffID))
		if !free {
			continue
		}
		// By way of tmp: a half-removed layer must not be taken for a whole one.
		grave := s.path("tmp", "removed-"+digestHex(diffID))
		err = errors.Join(err, os.Rename(s.layer(diffID), grave), os.RemoveAll(grave), os.Remove(s.layer(diffID)+".size"))
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
