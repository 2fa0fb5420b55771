package rootfs

import (
	"bufio"
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
	"golang.org/x/sys/unix"
)

// unpacked is what became of a layer.
type unpacked struct {
	diffID string // digest of the tar
	digest string // digest of the stream as it came, compressed or not
	size   int64  // bytes of the tar
	noEnd  bool   // the tar has no two blocks of zeros at its end (POSIX pax)
}

// errTruncated is a tar without its end where one must be.
var errTruncated = errors.New("the tarball is truncated: it has no end-of-archive blocks")

// unpackLayer unpacks a layer, compressed or not, into the existing empty
// folder dir, so that it can be a lower layer of overlayfs: a whiteout becomes a
// character device 0:0, an opaque folder gets trusted.overlay.opaque (Linux,
// Documentation/filesystems/overlayfs.rst). The stream is read to its end, so
// both digests are of all of it; it is the caller who compares them.
//
// Nothing is ever made outside dir, whatever the stream says: go-archive works
// through os.Root, and as root the unpacking thread is in a chroot besides. A name
// that begins with / is below dir. A stream that leads out ("..", a relative link),
// ends within an entry or has an attribute that cannot be set is an error; dir then
// holds what came before and is to be removed.
//
// reserve bytes and reserveNodes inodes of the file system stay free, and what is
// kept in memory is bounded by maxKept and segment, so that neither a
// decompression bomb nor a tar of a million names takes the host with it.
func unpackLayer(ctx context.Context, stream io.Reader, dir string) (unpacked, error) {
	digest, diffID := sha256.New(), sha256.New()
	raw := io.TeeReader(&cancelReader{ctx, stream}, digest)
	plain, err := decompress(raw)
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
	if err := seen.after.finish(dir); err != nil {
		return unpacked{}, err
	}
	return unpacked{diffID: sum(diffID), digest: sum(digest), size: guard.total, noEnd: seen.in.ended}, nil
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// unpackTar has an inspector read the tar and write another one for go-archive.
// The stream is read here, not by the thread that may be in a chroot.
func unpackTar(r io.Reader, dir string) (*inspector, error) {
	pipeReader, pipeWriter := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := unpackConfined(pipeReader, dir)
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

// unpackConfined runs go-archive on tars that follow each other. It does so on a
// thread of its own that has umask 0, so that folders which the tar only implies
// get their 0755, and, where we may, dir as its root. It must be called on a
// goroutine that then ends, and the locked thread with it.
func unpackConfined(r io.Reader, dir string) error {
	runtime.LockOSThread()
	options, release, err := archive.WithProcSelfFD(&archive.TarOptions{})
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
	tars := bufio.NewReaderSize(r, 64<<10)
	for {
		if _, err := tars.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := archive.Unpack(tars, dir, options); err != nil {
			return err
		}
	}
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
