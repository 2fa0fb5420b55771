package rootfs

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// unpacked describes an unpacked layer.
type unpacked struct {
	diffID string // digest of the tar
	digest string // digest of the stream as it came, compressed or not
	size   int64  // bytes of the tar
	tarFacts
}

// tarFacts are what else is known of an unpacked tar.
type tarFacts struct {
	noEnd       bool     // it has no two blocks of zeros at its end (POSIX pax)
	unsupported []string // some extended attributes that are left out for it
}

// errTruncated reports a tar without the end that it must have.
var errTruncated = errors.New("the tarball is truncated: it has no end-of-archive blocks")

// unpackLayer unpacks a layer, compressed or not, into the existing empty directory dir as
// a lower layer for overlayfs: a whiteout becomes a character device 0:0, an opaque
// directory gets trusted.overlay.opaque (Linux, Documentation/filesystems/overlayfs.rst).
// In a user namespace the attribute is user.overlay.opaque, and what cannot be created
// there is left out ([ids]). The stream is read to its end, so both digests are of all of
// it. The caller compares them, and closes the stream.
//
// Nothing is ever made outside dir, whatever the stream says: every call is relative
// to a descriptor of a directory in it ([tree]), and as root the unpacking thread is in
// a chroot as well. A name that begins with / is below dir. A stream that leads out of
// dir ("..", a relative link), ends within an entry or has an attribute that cannot be
// set, although the file system has such attributes, is an error; dir then holds what came before, and the caller removes it.
//
// The reserve of the file system stays free, and memory is bounded by maxKept and the
// blocks of [ahead], so that neither a decompression bomb nor a tar of a million names
// harms the host.
func unpackLayer(ctx context.Context, stream io.Reader, dir string, s *space) (unpacked, error) {
	packed := sha256.New()
	raw := io.TeeReader(&cancelReader{ctx, stream}, packed)
	plain, err := decompress(raw)
	if err != nil {
		return unpacked{}, fmt.Errorf("decompress: %w", err)
	}
	// What follows a compressed stream is hashed as well.
	both := io.MultiReader(countReader{plain, s}, restOf{raw})
	read := readAhead(both, func() { _ = plain.Close() })
	defer read.stop()

	facts, err := unpackTar(read, dir, s)
	if err != nil {
		return unpacked{}, explainStream(err)
	}
	return unpacked{read.digest(), sum(packed), read.total, facts}, nil
}

// restOf reads a stream to its end and returns nothing of it.
type restOf struct{ io.Reader }

func (r restOf) Read([]byte) (int, error) {
	if _, err := io.Copy(io.Discard, r.Reader); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// unpackTar unpacks a tar on a thread of its own, reads the stream to its end, and
// records it beside dir.
func unpackTar(r io.Reader, dir string, s *space) (facts tarFacts, err error) {
	record, err := newRecorder(r, dir)
	if err != nil {
		return tarFacts{}, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		facts, err = unpackConfined(record, dir, s)
	}()
	<-done
	if closed := record.close(); err == nil {
		err = closed
	}
	return facts, err
}

// unpackConfined unpacks a tar. The thread gets umask 0, a working directory of its own,
// and dir as its root if it may chroot. So it must be called on a goroutine that then
// ends, and the locked thread with it.
func unpackConfined(tar *recorder, dir string, s *space) (facts tarFacts, err error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return facts, fmt.Errorf("unshare(CLONE_FS): %w", err)
	}
	unix.Umask(0)
	ids, err := readIDs() // while there is a /proc
	if err != nil {
		return facts, err
	}
	if os.Geteuid() == 0 {
		if err := unix.Chroot(dir); err != nil {
			return facts, &os.PathError{Op: "chroot", Path: dir, Err: err}
		}
		dir = "/"
	}
	u, err := newUnpacker(dir, s, tar, ids)
	if err != nil {
		return facts, err
	}
	defer u.close()
	in := &endReader{Reader: tar}
	if err := eachEntry(in, u.entry); err != nil {
		return facts, err
	}
	facts.noEnd = in.ended
	if _, err := io.Copy(io.Discard, tar); err != nil {
		return facts, err
	}
	err = u.after.finish(u)
	facts.unsupported = u.unsupported
	return facts, err
}

// endReader records whether a stream was read to its end.
type endReader struct {
	io.Reader
	ended bool
}

func (r *endReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.ended = r.ended || n == 0 && errors.Is(err, io.EOF)
	return n, err
}

// eachEntry calls visit for each entry of a tar.
func eachEntry(r io.Reader, visit func(*tar.Header, io.Reader) error) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, tar.ErrFieldTooLong):
			return errors.New("the headers of an entry are larger than 1 MiB")
		case err != nil:
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // as Docker does
		}
		if err := visit(h, tr); err != nil {
			return err
		}
	}
}

// unpacker unpacks the entries of one layer.
type unpacker struct {
	tree   *tree
	record *recorder
	room   claim
	after  aftercare
	buffer []byte
	ids    ids
	left   map[string]bool // names of what was left out

	unsupported []string // names of extended attributes
}

func newUnpacker(dir string, s *space, record *recorder, ids ids) (*unpacker, error) {
	u := &unpacker{record: record, room: claim{space: s}, buffer: make([]byte, 128<<10), ids: ids}
	record.room = u.room.more
	var err error
	u.tree, err = openTree(dir, u.room.more)
	return u, err
}

func (u *unpacker) close() {
	u.record.room = func(_, _ uint64) error { return nil } // its last part
	_ = u.room.next(0, 0)
	u.tree.close()
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	plain, err := plainHeader(h)
	if err != nil {
		return err
	}
	if err := u.ids.fit(plain); err != nil {
		return err
	}
	if err := u.claim(plain); err != nil {
		return fmt.Errorf("the entry %s of %d bytes: %w", quote(plain.Name), plain.Size, err)
	}
	if done, err := u.after.entry(plain, h.PAXRecords); err != nil || done {
		return err
	}
	u.record.entry(h, plain)
	if err := u.make(plain, h.PAXRecords, content); err != nil {
		return fmt.Errorf("the entry %s: %w", quote(plain.Name), err)
	}
	return nil
}

// claim claims the most that an entry can take, except for directories that it implies:
// its content, an inode, and a block each for itself, for the directory that lists it
// and for its attributes. Large content is claimed in steps, but there must be room
// for all of it, except for holes.
func (u *unpacker) claim(h *tar.Header) error {
	var holes int64 // bytes that may not be in the tar, and so have not been counted
	if h.Typeflag == tar.TypeGNUSparse {
		holes = h.Size
	} else if h.Size > guardStep {
		if free, err := u.room.space.free(); err != nil || free.bytes < uint64(h.Size) {
			return cmp.Or(err, errFull())
		}
	}
	if err := u.room.space.count(holes, 1); err != nil {
		return err
	}
	return u.room.next(uint64(min(h.Size, guardStep))+4*blockSize, 1)
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
