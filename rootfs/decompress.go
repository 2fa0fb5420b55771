package rootfs

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/minirun/minirun/internal/hint"
)

const (
	// maxWindow is the largest window of a zstd stream that is accepted, in bytes: so much
	// is kept in memory. zstd's highest level needs it; the library's own limit is 512 MiB.
	maxWindow = 128 << 20

	// maxXz is the most memory that xz may use, in bytes. xz -9 needs 65 MiB (xz(1)).
	maxXz = 160 << 20
)

// compression is how a stream is compressed.
type compression int

const (
	uncompressed compression = iota
	gzipped
	bzipped
	xzipped
	zstandard
)

// magicSize is how many bytes of a stream detectCompression needs.
const magicSize = 6

// detectCompression returns the compression of a stream that starts with magic: RFC
// 1952, bzip2(1), xz-file-format.txt, and RFC 8878, where a stream may start with a
// skippable frame, as that of zstd:chunked does.
func detectCompression(magic []byte) compression {
	starts := func(with string) bool { return bytes.HasPrefix(magic, []byte(with)) }
	switch {
	case starts("\x1f\x8b\x08"):
		return gzipped
	case starts("BZh"):
		return bzipped
	case starts("\xfd7zXZ\x00"):
		return xzipped
	case starts("\x28\xb5\x2f\xfd"), len(magic) >= 4 && magic[0]&0xf0 == 0x50 && starts(string(magic[:1])+"\x2a\x4d\x18"):
		return zstandard
	}
	return uncompressed
}

// decompress returns the plain bytes of a stream, compressed or not.
func decompress(stream io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(stream, 64<<10)
	magic, err := buffered.Peek(magicSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch detectCompression(magic) {
	case gzipped:
		return gzip.NewReader(buffered)
	case bzipped:
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	case xzipped:
		return startXz(buffered)
	case zstandard:
		return newZstdReader(buffered)
	}
	return io.NopCloser(buffered), nil
}

type zstdReader struct{ io.ReadCloser }

func newZstdReader(stream io.Reader) (io.ReadCloser, error) {
	decoder, err := zstd.NewReader(stream, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return zstdReader{decoder.IOReadCloser()}, nil
}

func (r zstdReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = &limitError{"window of the zstd stream", maxWindow}
	}
	return n, err
}

// startXz decompresses with xz(1), and limits its memory: otherwise the stream decides how
// much xz takes, up to 4 GiB.
func startXz(stream io.Reader) (io.ReadCloser, error) {
	ctx, stop := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, "xz", "--decompress", "--stdout", "--quiet",
		"--threads=1", "--memlimit-decompress="+strconv.Itoa(maxXz))
	command.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	command.Stdin, command.Stderr = stream, &stderr
	xz, err := startProgram(command, stop, func(failed error) error {
		text := strings.TrimSpace(stderr.String())
		if strings.Contains(text, "Memory usage limit reached") {
			return &limitError{"dictionary of the xz stream", maxXz}
		}
		return fmt.Errorf("%w: %s", failed, text)
	})
	if errors.Is(err, exec.ErrNotFound) {
		err = hint.New("xz is not installed", "apt-get install xz-utils")
	}
	return xz, err
}

// explainStream rewords errors of the libraries that read a tar, compressed or not, which
// mean little to users.
func explainStream(err error) error {
	var deflate flate.CorruptInputError
	var bzip bzip2.StructuralError
	switch {
	case errors.Is(err, tar.ErrHeader):
		return hint.New("it is not a tar, or it is damaged", damagedHelp)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return hint.With(fmt.Errorf("it is truncated, or not a tar: %w", err), damagedHelp)
	case errors.As(err, &deflate), errors.As(err, &bzip), errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.Is(err, zstd.ErrCRCMismatch):
		return hint.With(fmt.Errorf("its compressed data is damaged: %w", err), damagedHelp)
	}
	return err
}

// damagedHelp is the hint for an image that has changed since it was made.
const damagedHelp = "it was cut or changed on its way: make it or fetch it again"

// explainJSON adds a hint to the error for a file of an image that is not the JSON it should be.
func explainJSON(err error) error {
	if errors.As(err, new(*json.SyntaxError)) || errors.As(err, new(*json.UnmarshalTypeError)) {
		return hint.With(err, damagedHelp)
	}
	return err
}
