package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	answers "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	retryPause = 250 * time.Millisecond // before the first retry; each next pause is twice as long
	maxRetries = 6                      // in a row, without a byte in between
	maxSilence = time.Minute            // a connection that brings no byte for so long counts as broken
)

// blobs fetches blobs of a repository.
type blobs struct {
	repository name.Repository
	client     http.Client
	pause      time.Duration // retryPause, except in tests
}

// open returns a reader of a blob, whose size is 0 if it is unknown. When a connection
// breaks, the reader asks for the rest on a new one. It does not check the digest. Close
// may be called while another goroutine reads.
func (b *blobs) open(ctx context.Context, digest string, size int64) (io.ReadCloser, error) {
	r := &blobReader{blobs: b, digest: digest, size: size}
	r.ctx, r.end = context.WithCancel(ctx)
	if err := r.connect(); err != nil && !r.retry(err) {
		r.end()
		return nil, err
	}
	return r, nil
}

// blobReader reads a blob over as many connections as it takes.
type blobReader struct {
	*blobs
	ctx     context.Context
	end     context.CancelFunc // ends ctx
	digest  string
	size    int64
	at      int64 // bytes read
	retries int   // since the last byte

	body   io.ReadCloser      // nil: not connected
	cancel context.CancelFunc // ends this connection
	silent *time.Timer        // calls cancel
}

func (r *blobReader) Read(p []byte) (int, error) {
	for {
		err := r.connect()
		if err == nil {
			var n int
			if n, err = r.read(p); n > 0 || err == nil || errors.Is(err, io.EOF) {
				return n, err
			}
		}
		r.disconnect()
		if !r.retry(err) {
			return 0, err
		}
	}
}

// read reads from the connection. It returns [io.EOF] only at the end of the blob.
func (r *blobReader) read(p []byte) (int, error) {
	r.silent.Reset(maxSilence)
	n, err := r.body.Read(p)
	r.silent.Stop()
	if r.at += int64(n); n > 0 {
		r.retries = 0
	}
	switch {
	case r.size > 0 && r.at > r.size:
		return 0, fmt.Errorf("the blob is longer than the %d bytes of the manifest", r.size)
	case errors.Is(err, io.EOF) && r.at < r.size:
		err = io.ErrUnexpectedEOF
	}
	if n > 0 && !errors.Is(err, io.EOF) {
		return n, nil // the next read meets the error again
	}
	return n, r.cause(err)
}

// retry waits before the next try, and returns false if none would help.
func (r *blobReader) retry(err error) bool {
	var answer *answers.Error
	switch {
	case r.ctx.Err() != nil, r.retries >= maxRetries, r.size > 0 && r.at > r.size:
		return false
	case errors.As(err, &answer) && answer.StatusCode < http.StatusInternalServerError && answer.StatusCode != http.StatusTooManyRequests:
		return false
	}
	pause := r.pause << r.retries
	r.retries++
	select {
	case <-time.After(pause + rand.N(pause/2)): // not all layers at the same moment
		return true
	case <-r.ctx.Done():
		return false
	}
}

// connect asks for the rest of the blob, unless the reader is connected.
func (r *blobReader) connect() error {
	if r.body != nil {
		return nil
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(r.ctx)
	r.silent = time.AfterFunc(maxSilence, r.cancel)
	defer r.silent.Stop()
	body, err := r.request(ctx)
	if err != nil {
		r.cancel()
		return r.cause(err)
	}
	r.body = body
	return nil
}

func (r *blobReader) request(ctx context.Context) (io.ReadCloser, error) {
	address := fmt.Sprintf("%s://%s/v2/%s/blobs/%s", r.repository.Scheme(), r.repository.RegistryStr(), r.repository.RepositoryStr(), r.digest)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if r.at > 0 {
		end := ""
		if r.size > 0 {
			end = fmt.Sprint(r.size - 1)
		}
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", r.at, end))
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	if err := r.check(answer); err != nil {
		_ = answer.Body.Close()
		return nil, err
	}
	return answer.Body, nil
}

// check makes sure that the body goes on at the reader's offset.
func (r *blobReader) check(answer *http.Response) error {
	if err := answers.CheckError(answer, http.StatusOK, http.StatusPartialContent); err != nil {
		return err
	}
	switch {
	case answer.StatusCode == http.StatusOK: // all of it again
		_, err := io.CopyN(io.Discard, heardReader{answer.Body, r}, r.at)
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	case !strings.HasPrefix(answer.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", r.at)):
		return fmt.Errorf("the registry was asked for bytes from %d, and sends %s", r.at, quote(answer.Header.Get("Content-Range")))
	}
	return nil
}

// heardReader reads a body. A connection that brings bytes is not silent.
type heardReader struct {
	io.Reader
	blob *blobReader
}

func (r heardReader) Read(p []byte) (int, error) {
	r.blob.silent.Reset(maxSilence)
	return r.Reader.Read(p)
}

// cause returns the error to report. It names the silence that cancelled a connection, and
// leaves out the query of an address, which may have a signature in it.
func (r *blobReader) cause(err error) error {
	var request *url.Error
	switch {
	case r.ctx.Err() == nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("%s sends nothing for %v", r.repository.RegistryStr(), maxSilence)
	case errors.As(err, &request):
		request.URL, _, _ = strings.Cut(request.URL, "?")
	}
	return err
}

// disconnect drops the connection. Only the reading goroutine calls it.
func (r *blobReader) disconnect() {
	if r.body != nil {
		r.cancel()
		_ = r.body.Close()
		r.body = nil
	}
}

// Close ends the connection, and a Read that waits for it. No other is made.
func (r *blobReader) Close() error {
	r.end()
	return nil
}
