package rootfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// blobsOf returns the blobs of a registry that answers by handler.
func blobsOf(t *testing.T, handler http.HandlerFunc) *blobs {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	repository, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://")+"/tool", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return &blobs{repository: repository, pause: time.Millisecond}
}

// slowly sends a byte of data after each pause, and then err.
type slowly struct {
	ctx   context.Context
	pause time.Duration
	data  []byte
	err   error
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, s.err
	}
	select {
	case <-time.After(s.pause):
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
	n := copy(p, s.data[:1])
	s.data = s.data[n:]
	return n, nil
}

func (s *slowly) Close() error { return nil }

// answer makes a transport of a function that returns the body of each request for a blob.
type answer func(ctx context.Context) io.ReadCloser

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: a(r.Context()), Request: r}, nil
}

// readSlowly reads a blob of some size that is sent so.
func readSlowly(t *testing.T, size int, a answer) ([]byte, error) {
	t.Helper()
	repository, err := name.NewRepository("registry.test/tool")
	if err != nil {
		t.Fatal(err)
	}
	b := &blobs{repository: repository, client: http.Client{Transport: a}, pause: retryPause}
	r, err := b.open(t.Context(), digestOf(nil), int64(size))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

// A registry without ranges sends all of a blob again. That may take longer than a
// connection may be silent.
func TestBlobSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blob, requests := []byte("all of a blob"), 0
		data, err := readSlowly(t, len(blob), func(ctx context.Context) io.ReadCloser {
			if requests++; requests == 1 {
				return &slowly{ctx, 0, blob[:len(blob)-1], io.ErrUnexpectedEOF}
			}
			return &slowly{ctx, maxSilence / 2, blob, io.EOF}
		})
		if err != nil || !bytes.Equal(data, blob) || requests != 2 {
			t.Errorf("%q after %d requests, %v", data, requests, err)
		}
	})
}

// A connection that is silent for too long counts as broken, also while the blob is sent again.
func TestBlobSilent(t *testing.T) {
	for _, before := range []string{"", "all of a b"} {
		synctest.Test(t, func(t *testing.T) {
			requests := 0
			data, err := readSlowly(t, 13, func(ctx context.Context) io.ReadCloser {
				if requests++; requests == 1 && before != "" {
					return &slowly{ctx, 0, []byte(before), io.ErrUnexpectedEOF}
				}
				return &slowly{ctx, maxSilence + time.Second, []byte("all of a blob"), io.EOF}
			})
			if err == nil || err.Error() != "registry.test sends nothing for 1m0s" || string(data) != before || requests != maxRetries+1 {
				t.Errorf("%q after %d requests, %v", data, requests, err)
			}
		})
	}
}

// A blob that ends where its rest should begin is truncated, and has not ended well.
func TestBlobTruncated(t *testing.T) {
	var requests atomic.Int64
	b := blobsOf(t, func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) > 1 {
			_, _ = w.Write([]byte("a")) // less than was read before
			return
		}
		_, _ = w.Write(bytes.Repeat([]byte("a"), 100))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	r, err := b.open(context.Background(), digestOf(nil), 200)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); n != 100 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// Close ends a Read that waits, and no other connection is made.
func TestBlobClosed(t *testing.T) {
	var requests atomic.Int64
	sent := make(chan struct{}, maxRetries+1)
	b := blobsOf(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = w.Write([]byte("a"))
		_ = http.NewResponseController(w).Flush()
		sent <- struct{}{}
		<-r.Context().Done()
	})
	r, err := b.open(context.Background(), digestOf(nil), 2)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, r)
		read <- err
	}()
	<-sent
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, context.Canceled) || requests.Load() != 1 {
		t.Errorf("%v after %d requests", err, requests.Load())
	}
}
