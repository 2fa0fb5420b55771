package rootfs

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// recordSuffix ends the name of the file beside a layer's directory that has all of
// the layer's tar except the contents of its files. Together with the directory it
// gives the tar again, byte for byte. It is compressed with zstd, and has after
// recordMagic any number of
//
//	uvarint n, n bytes of the tar,
//	uvarint n, the name of a file in the directory, n bytes,
//	uvarint the size of that file, unless its name is empty.
const (
	recordSuffix = ".tar"
	recordMagic  = "minirun tar 1\n"
	recordStep   = 32 << 10 // bytes of a tar that are kept in memory
)

// recorder passes on a tar and records it. After each header and before the content
// that follows it, the reader of the tar calls [recorder.entry].
type recorder struct {
	in      io.Reader
	pending []byte // of the tar, not yet written
	content int64  // bytes of a file that follow
	err     error  // of a write

	useless bool                            // the directory will not have all files of the tar
	room    func(bytes, nodes uint64) error // claims space

	to  *zstd.Encoder
	out *os.File
}

// newRecorder records a tar that is unpacked to dir. The caller closes the recorder.
func newRecorder(tar io.Reader, dir string) (*recorder, error) {
	out, err := os.OpenFile(dir+recordSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	to, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err == nil {
		_, err = io.WriteString(to, recordMagic)
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return &recorder{in: tar, to: to, out: out, room: func(_, _ uint64) error { return nil }}, nil
}

func (r *recorder) Read(p []byte) (int, error) {
	if r.content > 0 {
		n, err := r.in.Read(p[:min(int64(len(p)), r.content)])
		r.content -= int64(n)
		return n, err
	}
	n, err := r.in.Read(p)
	if r.pending = append(r.pending, p[:n]...); len(r.pending) >= recordStep {
		r.write("", 0)
	}
	if r.err != nil {
		return 0, r.err
	}
	return n, err
}

// replaced notes that a file of an earlier entry is gone, so that the tar cannot be made
// again.
func (r *recorder) replaced() { r.useless = true }

// entry notes that the content of the entry with header h comes next in the tar, and that
// it is unpacked as plain describes.
func (r *recorder) entry(h, plain *tar.Header) {
	if r.useless || h.Typeflag != tar.TypeReg || plain.Typeflag != tar.TypeReg || h.Size == 0 {
		return
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return // the tar has less than the file's content
		}
	}
	r.write(plain.Name, h.Size)
	r.content = h.Size
}

func (r *recorder) write(name string, size int64) {
	if r.useless {
		r.pending = r.pending[:0]
		return
	}
	data := binary.AppendUvarint(nil, uint64(len(r.pending)))
	data = append(data, r.pending...)
	data = binary.AppendUvarint(data, uint64(len(name)))
	data = append(data, name...)
	if name != "" {
		data = binary.AppendUvarint(data, uint64(size))
	}
	r.pending = r.pending[:0]
	if r.err == nil {
		r.err = r.room(uint64(len(data)), 0)
	}
	if r.err == nil {
		_, r.err = r.to.Write(data)
	}
}

// close ends the record, and removes one that would not give the tar again.
func (r *recorder) close() error {
	r.write("", 0)
	err := errors.Join(r.err, r.to.Close(), r.out.Close())
	if r.useless {
		return os.Remove(r.out.Name())
	}
	return err
}

// errNoRecord reports a layer whose tar cannot be made again byte for byte: it was
// unpacked by minirun 0.1, or has two entries of one name.
var errNoRecord = errors.New("the layer has no record of its tar")

// writeTar writes the tar that a layer was unpacked from. It returns [errNoRecord], or
// [ErrDamaged] if the layer has changed.
func (s *Store) writeTar(w io.Writer, diffID string) error {
	f, err := os.OpenFile(s.layer(diffID)+recordSuffix, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO is then an empty record
	if errors.Is(err, os.ErrNotExist) {
		return errNoRecord
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if err := remakeTar(io.MultiWriter(w, h), f, s.layer(diffID)); err != nil {
		return err
	}
	if got := sum(h); got != diffID {
		return fmt.Errorf("%w: the layer's files have changed: the digest of its tar is %s", ErrDamaged, got)
	}
	return nil
}

// remakeTar writes the tar of a record and the files of dir. It fails if a file is
// missing or has another size, and does not see any other change.
func remakeTar(w io.Writer, record io.Reader, dir string) error {
	decoder, err := zstd.NewReader(record, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		return err
	}
	defer decoder.Close()
	in := bufio.NewReader(recordReader{decoder})
	magic := make([]byte, len(recordMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return truncatedRecord(err)
	}
	if string(magic) != recordMagic {
		return fmt.Errorf("%w: the record of a tar is unreadable", ErrDamaged)
	}
	for {
		err := remakePart(w, in, dir)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// recordReader turns the errors of the decoder into ErrDamaged.
type recordReader struct{ io.Reader }

func (r recordReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: the record of a tar is unreadable: %w", ErrDamaged, err)
	}
	return n, err
}

// remakePart writes some bytes of the tar and the file that follows them. It returns
// [io.EOF] at the end of the record.
func remakePart(w io.Writer, in *bufio.Reader, dir string) error {
	size, err := binary.ReadUvarint(in)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return truncatedRecord(err)
	}
	if _, err := io.CopyN(w, in, int64(min(size, 1<<62))); err != nil {
		return truncatedRecord(err)
	}
	length, err := binary.ReadUvarint(in)
	if err != nil || length > maxName {
		return truncatedRecord(err)
	}
	if length == 0 {
		return nil
	}
	name := make([]byte, length)
	if _, err := io.ReadFull(in, name); err != nil {
		return truncatedRecord(err)
	}
	if size, err = binary.ReadUvarint(in); err != nil {
		return truncatedRecord(err)
	}
	return copyFile(w, dir, string(name), size)
}

func truncatedRecord(err error) error {
	if err == nil || !errors.Is(err, ErrDamaged) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return fmt.Errorf("%w: the record of a tar is truncated", ErrDamaged)
	}
	return err
}

// copyFile writes the content of a file, which must have that size. Links are resolved
// as in a chroot, as they were when the file was made.
func copyFile(w io.Writer, dir, name string, size uint64) error {
	f, err := openFile(dir, name)
	if isAbsent(err) {
		return fmt.Errorf("%w: the layer's file %s is missing", ErrDamaged, quote(name))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || uint64(info.Size()) != size {
		return fmt.Errorf("%w: the layer's file %s has changed", ErrDamaged, quote(name))
	}
	_, err = io.CopyN(w, f, info.Size())
	return err
}

func openFile(dir, name string) (*os.File, error) {
	parent, err := securejoin.SecureJoin(dir, filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(parent, filepath.Base(name)), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// isAbsent reports whether an error says that there is no file of that name. A damaged
// record may have names that no file can have.
func isAbsent(err error) bool {
	for _, errno := range []unix.Errno{unix.ENOENT, unix.ELOOP, unix.ENOTDIR, unix.ENXIO, unix.EINVAL, unix.ENAMETOOLONG} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
