package rootfs

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minirun/minirun/internal/hint"
)

// Limits of the documents of an image, which are held in memory. Registries must
// accept manifests of 4 MiB (distribution-spec, "Pushing Manifests"), and few accept
// larger ones.
const (
	maxManifest   = 4 << 20 // bytes of a manifest or an index
	maxConfig     = 8 << 20 // bytes of a configuration
	maxIndexDepth = 8       // indexes in indexes
)

// Limits bound the size of an image once it is unpacked, whatever space the disk has: a
// small file can become a very large image. Zero is the default.
type Limits struct {
	Bytes int64 // of the layers' tars, with the holes of sparse files
	Files int64 // entries of these tars
}

// Default limits: images of 40 GB and of half a million files exist.
const (
	DefaultMaxBytes = 128 << 30
	DefaultMaxFiles = 8 << 20
)

func (l Limits) orDefault() Limits {
	return Limits{cmp.Or(l.Bytes, DefaultMaxBytes), cmp.Or(l.Files, DefaultMaxFiles)}
}

// errTooLarge reports an image beyond its limits.
func errTooLarge(what string, limit int64) error {
	return &Error{Err: fmt.Errorf("the image has more than %d %s", limit, what), Cause: CauseTooLarge}
}

// limitError reports a part of an image that is larger than minirun accepts.
type limitError struct {
	what  string
	limit int64 // bytes
}

func (e *limitError) Error() string {
	if e.limit >= 1<<20 {
		return fmt.Sprintf("the %s is larger than %d MiB", e.what, e.limit>>20)
	}
	return fmt.Sprintf("the %s is longer than %d bytes", e.what, e.limit)
}

// readLimited reads all of r. It returns a [limitError] if that is more than limit
// bytes.
func readLimited(r io.Reader, what string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &limitError{what, limit}
	}
	return data, err
}

// limitManifests limits the answers that the library reads for a manifest or an index
// to maxManifest: its own limit is 100 MiB (remote/fetcher.go of v0.22.1).
type limitManifests struct{ http.RoundTripper }

func (l limitManifests) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	for r.Response != nil { // a redirection led here
		r = r.Response.Request
	}
	if path.Base(path.Dir(r.URL.Path)) == "manifests" {
		answer.Body = &limitedBody{answer.Body, maxManifest}
	}
	return answer, nil
}

// limitedBody fails a read of more than left bytes.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &limitError{"manifest", maxManifest}
	}
	return n, err
}

// checkManifest checks the size and the digest of a manifest or an index.
func checkManifest(want v1.Hash, data []byte) error {
	if len(data) > maxManifest {
		return &limitError{"manifest", maxManifest}
	}
	if got := digestOf(data); got != want.String() {
		return hint.With(fmt.Errorf("manifest %s has the digest %s", want, got), damagedHelp)
	}
	return nil
}
