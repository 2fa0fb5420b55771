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
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// blobsOf returns the blobs of a registry that answers by handler.
func blobsOf(t *testing.T, silence time.Duration, handler http.HandlerFunc) *blobs {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	repository, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://")+"/tool", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return &blobs{repository: repository, pause: time.Millisecond, silence: silence}
}

// A registry without ranges sends all of a blob again. That may take longer than a
// connection may be silent.
func TestBlobSentAgain(t *testing.T) {
	const silence, chunks = 250 * time.Millisecond, 32
	var requests atomic.Int64
	b := blobsOf(t, silence, func(w http.ResponseWriter, _ *http.Request) {
		first := requests.Add(1) == 1
		for i := range chunks {
			if first && i == chunks-1 {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write([]byte{byte(i)})
			_ = http.NewResponseController(w).Flush()
			if !first {
				<-time.After(2 * silence / chunks)
			}
		}
	})
	r, err := b.open(context.Background(), digestOf(nil), chunks)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || len(data) != chunks || data[chunks-1] != chunks-1 {
		t.Errorf("%v, %v", data, err)
	}
}

// A blob that ends where its rest should begin is truncated, and has not ended well.
func TestBlobTruncated(t *testing.T) {
	var requests atomic.Int64
	b := blobsOf(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
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
	b := blobsOf(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
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
