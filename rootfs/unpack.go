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

// unpacked describes an unpacked layer.
type unpacked struct {
	diffID string // digest of the tar
	digest string // digest of the stream as it came, compressed or not
	size   int64  // bytes of the tar
	noEnd  bool   // the tar has no two blocks of zeros at its end (POSIX pax)
}

// errTruncated reports a tar without the end that it must have.
var errTruncated = errors.New("the tarball is truncated: it has no end-of-archive blocks")

// unpackLayer unpacks a layer, compressed or not, into the existing empty directory
// dir as a lower layer for overlayfs: a whiteout becomes a character device 0:0, an
// opaque directory gets trusted.overlay.opaque (Linux,
// Documentation/filesystems/overlayfs.rst). The stream is read to its end, so both
// digests are of all of it. The caller compares them.
//
// Nothing is ever made outside dir, whatever the stream says: go-archive works
// through os.Root, and as root the unpacking thread is in a chroot as well. A name
// that begins with / is below dir. A stream that leads out of dir ("..", a relative
// link), ends within an entry or has an attribute that cannot be set is an error; dir
// then holds what came before, and the caller removes it.
//
// reserve bytes and reserveNodes inodes of the file system stay free, and memory is
// bounded by maxKept and segment, so that neither a decompression bomb nor a tar of a
// million names harms the host.
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

// unpackTar checks the tar with an inspector, which writes another one for go-archive,
// and records it beside dir. The stream is read here, not by the thread that may be in
// a chroot.
func unpackTar(r io.Reader, dir string) (*inspector, error) {
	record, err := newRecorder(r, dir)
	if err != nil {
		return nil, err
	}
	pipeReader, pipeWriter := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := unpackConfined(pipeReader, dir)
		pipeReader.CloseWithError(err)
		unpacked <- err
	}()

	seen := newInspector(record, pipeWriter, dir)
	err = seen.inspect()
	if err == nil {
		_, err = io.Copy(io.Discard, record)
	}
	if closed := record.close(); err == nil {
		err = closed
	}
	pipeWriter.CloseWithError(err)
	if failed := <-unpacked; err == nil {
		err = failed
	}
	return seen, err
}

// unpackConfined runs go-archive on consecutive tars, on a thread of its own. The
// thread has umask 0, so that directories which the tar only implies get mode 0755,
// and dir as its root if we may chroot. It must be called on a goroutine that then
// ends, and the locked thread with it.
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

// cancelReader fails once the context is done.
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
