package rootfs

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	reserve      = 256 << 20 // bytes that unpacking leaves free
	reserveNodes = 4096      // and inodes
	guardStep    = 16 << 20  // bytes between two checks
	blockSize    = 4096      // of most file systems
)

// spaceCheck checks that the file system of dir has room for the next entry. The
// previous entry may not be unpacked yet, so it is counted again.
type spaceCheck struct {
	dir          string
	bytes, nodes uint64 // of the previous entry
}

// entry counts the most that an entry can take: its content, an inode and a block for
// each directory that its name implies, for itself and for the directory that lists
// it, and a block for its attributes. A sparse file has its size in the header and
// nothing in the stream.
func (s *spaceCheck) entry(h *tar.Header) error {
	nodes := uint64(strings.Count(h.Name, "/") + 1)
	bytes := uint64(h.Size) + blockSize*(nodes+3)
	err := checkSpace(s.dir, bytes+s.bytes, nodes+s.nodes)
	s.bytes, s.nodes = bytes, nodes
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

// checkSpace returns an error with [unix.ENOSPC] unless so many bytes and inodes are
// free beside the reserve.
func checkSpace(dir string, bytes, nodes uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free := st.Bavail * uint64(st.Bsize)
	noNodes := st.Files > 0 && st.Ffree < reserveNodes+nodes // some file systems do not count them
	if free < reserve || free-reserve < bytes || noNodes {
		return &Error{Err: fmt.Errorf("the file system of the store is full: %w", unix.ENOSPC), Cause: CauseFull}
	}
	return nil
}
