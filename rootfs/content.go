package rootfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// write copies size bytes of content to a file, and claims space step by step.
func (u *unpacker) write(fd int, size int64, content io.Reader) error {
	to := contentWriter{unpacker: u, fd: fd, left: size, claimed: guardStep}
	for to.left > 0 {
		n, err := content.Read(u.buffer[:min(to.left, int64(len(u.buffer)))])
		if n == 0 {
			return cmp.Or(err, io.ErrUnexpectedEOF)
		}
		if err := to.write(u.buffer[:n]); err != nil {
			return err
		}
	}
	return nil
}

// writeSparse is write for a sparse file. Blocks of zeros become holes, which take no
// space: archive/tar does not say where the holes of an entry are.
func (u *unpacker) writeSparse(fd int, size int64, content io.Reader) error {
	to := contentWriter{unpacker: u, fd: fd, left: size, claimed: guardStep}
	for to.left > 0 {
		chunk := u.buffer[:min(to.left, int64(len(u.buffer)))]
		if _, err := io.ReadFull(content, chunk); err != nil {
			return err
		}
		for len(chunk) > 0 {
			data, holes := splitHole(chunk)
			if err := to.write(data); err != nil {
				return err
			}
			if err := to.skip(holes); err != nil {
				return err
			}
			chunk = chunk[len(data)+holes:]
		}
	}
	return unix.Ftruncate(fd, size)
}

var zeros [blockSize]byte

// splitHole returns the blocks of data at the beginning of a chunk, and how many bytes of
// zeros follow, in whole blocks. The last block may be shorter.
func splitHole(chunk []byte) (data []byte, hole int) {
	start := len(chunk)
	for at := 0; at < len(chunk); at += blockSize {
		block := chunk[at:min(at+blockSize, len(chunk))]
		empty := bytes.Equal(block, zeros[:len(block)])
		switch {
		case empty && start == len(chunk):
			start = at
		case !empty && start < len(chunk):
			return chunk[:start], at - start
		}
	}
	return chunk[:start], len(chunk) - start
}

// contentWriter writes a file, and claims space for what it writes.
type contentWriter struct {
	*unpacker
	fd      int
	left    int64 // bytes of the file
	claimed int64 // bytes that may be written
}

func (w *contentWriter) write(data []byte) error {
	w.left -= int64(len(data))
	if w.claimed -= int64(len(data)); w.claimed < 0 {
		if err := w.room.next(uint64(min(w.left, guardStep)+int64(len(data))), 0); err != nil {
			return err
		}
		w.claimed = guardStep
	}
	for len(data) > 0 {
		n, err := unix.Write(w.fd, data)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write: %w", err)
		}
		data = data[max(n, 0):]
	}
	return nil
}

// skip leaves a hole.
func (w *contentWriter) skip(hole int) error {
	w.left -= int64(hole)
	_, err := unix.Seek(w.fd, int64(hole), io.SeekCurrent)
	return err
}
