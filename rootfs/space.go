package rootfs

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	reserve      = 256 << 20 // bytes that unpacking leaves free
	reserveNodes = 4096      // and inodes
	guardStep    = 16 << 20  // bytes between two checks
	guardNodes   = 1024      // and inodes
	blockSize    = 4096      // of most file systems
)

// space is what a file system has left beyond the reserve. Layers that are unpacked at the
// same time share one.
type space struct {
	dir    *os.File // on that file system
	limits Limits   // of all layers together

	mu      sync.Mutex
	used    Limits // of limits
	left    amount // at the last look, less what was claimed since
	claimed amount // what is being written
}

// amount is a part of a file system.
type amount struct{ bytes, nodes uint64 }

// claim is what one layer writes at the moment.
type claim struct {
	space *space
	now   amount
}

// next claims the most that the next write can take. The previous one has been
// written. It returns an error with [unix.ENOSPC] if there is no room.
func (c *claim) next(bytes, nodes uint64) error {
	c.space.mu.Lock()
	c.space.claimed.bytes -= c.now.bytes
	c.space.claimed.nodes -= c.now.nodes
	c.now = amount{}
	c.space.mu.Unlock()
	return c.more(bytes, nodes)
}

// more adds to what next has claimed.
func (c *claim) more(bytes, nodes uint64) error {
	s := c.space
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes > s.left.bytes || nodes > s.left.nodes {
		if err := s.look(bytes, nodes); err != nil {
			return err
		}
	}
	s.left.bytes, s.left.nodes = s.left.bytes-bytes, s.left.nodes-nodes
	s.claimed.bytes, s.claimed.nodes = s.claimed.bytes+bytes, s.claimed.nodes+nodes
	c.now.bytes, c.now.nodes = c.now.bytes+bytes, c.now.nodes+nodes
	return nil
}

// look asks the file system what is left. It notes at most a step more than is needed now,
// since other programs write there too.
func (s *space) look(bytes, nodes uint64) error {
	free, err := s.free()
	if err != nil {
		return err
	}
	if free.bytes < s.claimed.bytes+bytes || free.nodes < s.claimed.nodes+nodes {
		return errFull()
	}
	s.left.bytes = min(free.bytes-s.claimed.bytes, bytes+guardStep)
	s.left.nodes = min(free.nodes-s.claimed.nodes, nodes+guardNodes)
	return nil
}

// newSpace returns the space of the file system that dir is on. The caller closes it.
func newSpace(dir string) (*space, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return &space{dir: f, limits: Limits{}.orDefault()}, nil
}

// count counts bytes and files against the limits.
func (s *space) count(bytes, files int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used.Bytes, s.used.Files = s.used.Bytes+bytes, s.used.Files+files
	switch {
	case s.used.Bytes > s.limits.Bytes || s.used.Bytes < 0:
		return errTooLarge("bytes", s.limits.Bytes)
	case s.used.Files > s.limits.Files:
		return errTooLarge("files", s.limits.Files)
	}
	return nil
}

// countReader counts what is read of a tar.
type countReader struct {
	io.Reader
	space *space
}

func (r countReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		if over := r.space.count(int64(n), 0); over != nil {
			return 0, over
		}
	}
	return n, err
}

func (s *space) close() { _ = s.dir.Close() }

// free returns what is free beyond the reserve. It uses no path, which would mean something
// else in a chroot.
func (s *space) free() (amount, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(s.dir.Fd()), &st); err != nil {
		return amount{}, &os.PathError{Op: "fstatfs", Path: s.dir.Name(), Err: err}
	}
	free := amount{st.Bavail * uint64(st.Bsize), st.Ffree}
	if st.Files == 0 {
		free.nodes = 1 << 62 // some file systems do not count them
	}
	if free.bytes < reserve || free.nodes < reserveNodes {
		return amount{}, nil
	}
	return amount{free.bytes - reserve, free.nodes - reserveNodes}, nil
}

func errFull() error {
	return &Error{Err: fmt.Errorf("the file system of the store is full: %w", unix.ENOSPC), Cause: CauseFull}
}

// checkSpace returns an error with [unix.ENOSPC] unless so many bytes and inodes are free
// beyond the reserve.
func checkSpace(dir string, bytes, nodes uint64) error {
	s, err := newSpace(dir)
	if err != nil {
		return err
	}
	defer s.close()
	free, err := s.free()
	if err == nil && (free.bytes < bytes || free.nodes < nodes) {
		err = errFull()
	}
	return err
}

// spaceGuard fails a read if writing its bytes would use up the reserve of dir's file
// system.
type spaceGuard struct {
	io.Reader
	dir         string
	total, next int64
}

func (g *spaceGuard) Read(p []byte) (int, error) {
	if g.total+int64(len(p)) > g.next {
		if err := checkSpace(g.dir, uint64(guardStep+len(p)), 1); err != nil {
			return 0, err
		}
		g.next = g.total + guardStep + int64(len(p))
	}
	n, err := g.Reader.Read(p)
	g.total += int64(n)
	return n, err
}
