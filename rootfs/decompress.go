package rootfs

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/moby/go-archive/compression"
)

// maxWindow is the most of a zstd stream that is kept in memory to decompress it.
// It is what zstd's highest level needs; the library's own limit is 512 MiB.
const maxWindow = 128 << 20

// decompress gives the plain bytes of a stream, compressed or not.
func decompress(stream io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(stream)
	magic, err := buffered.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if compression.Detect(magic) != compression.Zstd {
		return compression.DecompressStream(buffered)
	}
	decoder, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return zstdReader{decoder.IOReadCloser()}, nil
}

type zstdReader struct{ io.ReadCloser }

func (r zstdReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = &limitError{"window of the zstd stream", maxWindow}
	}
	return n, err
}
