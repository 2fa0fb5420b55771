package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/removeall"
)

// lock waits for the store's lock and returns a function that releases it. A process that
// dies releases its locks.
func (s *Store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock.Lock(f, unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// lockShared takes a shared lock on a file or directory of the store. It returns
// os.ErrNotExist if the file was removed meanwhile.
func lockShared(path string) (*os.File, error) {
	f, err := flock.Open(path, unix.LOCK_SH)
	if err != nil {
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

// lockIfFree takes an exclusive lock without waiting. It returns [unix.EWOULDBLOCK] if
// another process holds a lock.
func lockIfFree(path string) (*os.File, error) {
	return flock.Open(path, unix.LOCK_EX|unix.LOCK_NB)
}

// pin is the name of a symbolic link in the directory of a container that is kept. Its
// target is the digest of the manifest of the container's image.
const pin = "image"

// Pin keeps an image of the store from being removed as long as dir exists, the directory
// of a container in ROOT/containers.
func (i *Image) Pin(dir string) error {
	if i.Digest == "" {
		return nil
	}
	if err := os.Symlink(i.Digest, filepath.Join(dir, pin)); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// pinned reports whether a container that is kept has the image with this manifest.
func (s *Store) pinned(digest string) bool {
	containers, _ := os.ReadDir(s.path("containers"))
	return slices.ContainsFunc(containers, func(c os.DirEntry) bool {
		of, err := os.Readlink(s.path("containers", c.Name(), pin))
		return err == nil && of == digest
	})
}

// inUse reports whether a container has the image with this manifest: one that runs, or one
// that is kept.
func (s *Store) inUse(digest string) (bool, error) {
	if s.pinned(digest) {
		return true, nil
	}
	f, err := lockIfFree(s.blob(digest))
	switch {
	case err == nil:
		return false, f.Close()
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	}
	return false, err
}

// workDir is a directory of the store that exists as long as its process.
type workDir struct {
	path string
	lock *os.File
}

// newWorkDir makes a workDir, and removes those of dead processes.
func (s *Store) newWorkDir() (*workDir, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.sweep()
	if err := os.MkdirAll(s.path("tmp"), 0o700); err != nil { // a copied store may lack it
		return nil, err
	}
	path, err := os.MkdirTemp(s.path("tmp"), "")
	if err != nil {
		return nil, err
	}
	f, err := lockShared(path)
	if err != nil {
		_ = removeall.Remove(path)
		return nil, err
	}
	return &workDir{path, f}, nil
}

func (w *workDir) join(name string) string { return filepath.Join(w.path, name) }

func (w *workDir) remove() error {
	defer w.lock.Close()
	return removeall.Remove(w.path)
}

// sweep removes what dead processes left: work directories whose lock is free, and
// files that were never renamed. Where this fails, the rest is left for the next sweep,
// so that an image can be added nevertheless. The caller holds the store's lock.
func (s *Store) sweep() {
	entries, _ := os.ReadDir(s.path("tmp"))
	for _, entry := range entries {
		path := s.path("tmp", entry.Name())
		if f, err := lockIfFree(path); err == nil {
			_ = removeall.Remove(path)
			_ = f.Close()
		}
	}
	for _, dir := range []string{"", "blobs/sha256"} {
		files, _ := filepath.Glob(s.path(dir, atomicfile.Pattern))
		for _, file := range files {
			_ = os.Remove(file)
		}
	}
}
