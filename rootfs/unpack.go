package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"

	"github.com/moby/go-archive"
	"github.com/moby/go-archive/compression"
	"golang.org/x/sys/unix"
)

// unpacked is what became of a layer.
type unpacked struct {
	diffID string // digest of the tar
	digest string // digest of the stream as it came, compressed or not
	size   int64  // bytes of the tar
}

// unpackLayer unpacks a layer, compressed or not, into the existing empty
// folder dir, so that it can be a lower layer of overlayfs: a whiteout becomes a
// character device 0:0, an opaque folder gets trusted.overlay.opaque (Linux,
// Documentation/filesystems/overlayfs.rst). The stream is read to its end, so
// both digests are of all of it; it is the caller who compares them.
//
// Nothing is ever made outside dir, whatever the stream says: go-archive works
// through os.Root, and as root the unpacking thread is in a chroot besides. A
// stream that tries (an absolute name, "..", a link that leads out), is cut short
// or loses an extended attribute is an error; dir then holds what came before
// and is to be removed. reserve bytes of the file system stay free, so a
// decompression bomb does not take the host with it.
func unpackLayer(ctx context.Context, stream io.Reader, dir string) (unpacked, error) {
	digest, diffID := sha256.New(), sha256.New()
	raw := io.TeeReader(&cancelReader{ctx, stream}, digest)
	plain, err := compression.DecompressStream(raw)
	if err != nil {
		return unpacked{}, fmt.Errorf("decompress: %w", err)
	}
	defer plain.Close()

	guard := &spaceGuard{Reader: plain, dir: dir}
	seen, err := unpackTar(io.TeeReader(guard, diffID), dir)
	if err != nil {
		return unpacked{}, err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return unpacked{}, err
	}
	if err := seen.finish(dir); err != nil {
		return unpacked{}, err
	}
	return unpacked{diffID: sum(diffID), digest: sum(digest), size: guard.total}, nil
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// unpackTar has an inspector read the tar and pass on to go-archive what it
// has seen and found good: go-archive is more lenient than we are. The stream is
// read here, not by the thread that may be in a chroot.
func unpackTar(r io.Reader, dir string) (*inspector, error) {
	pipeReader, pipeWriter := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := unpackConfined(pipeReader, dir)
		if err == nil {
			_, err = io.Copy(io.Discard, pipeReader)
		}
		pipeReader.CloseWithError(err)
		unpacked <- err
	}()

	seen := newInspector(r, pipeWriter, dir)
	err := seen.inspect()
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	pipeWriter.CloseWithError(err)
	if failed := <-unpacked; err == nil {
		err = failed
	}
	return seen, err
}

// unpackConfined runs go-archive on a thread of its own that has umask 0, so
// that folders which the tar only implies get their 0755, and, where we may,
// dir as its root. It must be called on a goroutine that then ends, and the
// locked thread with it.
func unpackConfined(r io.Reader, dir string) error {
	runtime.LockOSThread()
	options, release, err := archive.WithProcSelfFD(&archive.TarOptions{
		WhiteoutFormat: archive.OverlayWhiteoutFormat,
	})
	if err != nil {
		return err
	}
	defer release()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare(CLONE_FS): %w", err)
	}
	unix.Umask(0)
	if os.Geteuid() == 0 {
		if err := unix.Chroot(dir); err != nil {
			return &os.PathError{Op: "chroot", Path: dir, Err: err}
		}
		dir = "/"
	}
	if err := unix.Chdir(dir); err != nil {
		return &os.PathError{Op: "chdir", Path: dir, Err: err}
	}
	return archive.Unpack(r, dir, options)
}

// cancelReader ends with the context.
type cancelReader struct {
	ctx context.Context
	io.Reader
}

func (r *cancelReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

const (
	reserve      = 256 << 20 // bytes that unpacking leaves free
	reserveNodes = 4096      // and inodes
	guardStep    = 16 << 20  // bytes between two looks
)

// spaceGuard fails a read when the file system of dir is nearly full.
type spaceGuard struct {
	io.Reader
	dir         string
	total, next int64
}

func (g *spaceGuard) Read(p []byte) (int, error) {
	if g.total >= g.next {
		if err := checkSpace(g.dir, 0); err != nil {
			return 0, err
		}
		g.next = g.total + guardStep
	}
	n, err := g.Reader.Read(p)
	g.total += int64(n)
	return n, err
}

// checkSpace tells whether need bytes can be written and the reserve kept.
func checkSpace(dir string, need uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free := st.Bavail * uint64(st.Bsize)
	if free < reserve || free-reserve < need || st.Files > 0 && st.Ffree < reserveNodes {
		return &Error{
			Err:  fmt.Errorf("the disk of the store has no room for it: %w", unix.ENOSPC),
			Help: "remove images with 'minirun rmi', or keep the store on a larger disk with --root",
		}
	}
	return nil
}

// errTruncated is a tar without its end: two blocks of zeros (POSIX pax).
var errTruncated = errors.New("the tarball is truncated: it has no end-of-archive blocks")
