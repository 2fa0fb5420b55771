package rootfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	archives "github.com/google/go-containerregistry/pkg/v1/tarball"
)

// A connection that breaks is resumed where it broke, whether the registry knows ranges
// or sends all of it again.
func TestPullResumes(t *testing.T) {
	for name, ranges := range map[string]bool{"ranges": true, "no ranges": false} {
		t.Run(name, func(t *testing.T) {
			var broken, sent atomic.Int64
			host := newRegistry(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if !ranges {
						r.Header.Del("Range")
					}
					if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && broken.Add(1) <= 3 {
						w = &breaking{w, 200 << 10}
					}
					counted := &counting{w, &sent}
					next.ServeHTTP(counted, r)
				})
			})
			noise := make([]byte, 1<<20)
			_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
			layer, err := archives.LayerFromOpener(func() (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(makeTar(t, file("noise", string(noise))))), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			image, err := mutate.AppendLayers(testImage(t, here, "a"), layer)
			if err != nil {
				t.Fatal(err)
			}
			push(t, host+"/tool", image)
			sent.Store(0)
			s := newStore(t)
			s.pause = time.Millisecond
			if got := resolve(t, s, host+"/tool"); len(got.Layers) != 2 {
				t.Errorf("%+v", got)
			}
			if broken.Load() < 4 {
				t.Errorf("%d requests for blobs", broken.Load())
			}
			if n := sent.Load(); ranges && n > 3<<20/2 {
				t.Errorf("%d bytes were sent for 1 MiB", n)
			}
		})
	}
}

// breaking ends the connection after some bytes of the body.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(len(p), b.left)])
	if b.left -= n; b.left == 0 {
		panic(http.ErrAbortHandler)
	}
	return n, err
}

type counting struct {
	http.ResponseWriter
	total *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.total.Add(int64(n))
	return n, err
}

// A pull that ends early, for example by ^C, keeps what was whole, and the next one
// fetches the rest only.
func TestPullGoesOn(t *testing.T) {
	var host string
	var blobs atomic.Int64
	stuck, ended := make(chan struct{}), atomic.Bool{}
	image := testImage(t, here, "a", "b", "c")
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	last, _ := layers[2].Digest()
	host = newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				blobs.Add(1)
				if strings.HasSuffix(r.URL.Path, last.String()) && !ended.Load() {
					close(stuck)
					<-r.Context().Done()
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	push(t, host+"/tool", image)
	s := newStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	var whole sync.WaitGroup
	whole.Add(2)
	go func() {
		<-stuck
		whole.Wait()
		cancel()
	}()
	_, err = s.Pull(ctx, host+"/tool", ResolveOptions{Progress: func(e Event) {
		if e.Status == "done" {
			whole.Done()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ended.Store(true)
	push(t, host+"/other", testImage(t, here, "x"))
	resolve(t, s, host+"/other") // removes nothing
	before := blobs.Load()
	if got := resolve(t, s, host+"/tool"); filesOf(t, got) != "a b c" {
		t.Errorf("%+v", got)
	}
	if n := blobs.Load() - before; n != 2 { // the configuration and the last layer
		t.Errorf("%d blobs were fetched", n)
	}
}

func TestPullCancelled(t *testing.T) {
	host := newRegistry(t, nil)
	push(t, host+"/tool", testImage(t, here, "a"))
	s := newStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Resolve(ctx, host+"/tool", ResolveOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	isEmpty(t, s)
}
