package rootfs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// gate is a registry that counts the requests for layers, and holds them until it is
// opened.
type gate struct {
	mu      sync.Mutex
	counts  map[string]int // by digest, of the layers that were pushed
	arrived chan struct{}
	opened  chan struct{}
	host    string
}

func newGate(t *testing.T) *gate {
	g := &gate{counts: map[string]int{}, arrived: make(chan struct{}, 100), opened: make(chan struct{})}
	g.host = newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, digest, _ := strings.Cut(r.URL.Path, "/blobs/")
			g.mu.Lock()
			_, known := g.counts[digest]
			if known = known && r.Method == http.MethodGet; known {
				g.counts[digest]++
			}
			g.mu.Unlock()
			if known {
				g.arrived <- struct{}{}
				select {
				case <-g.opened:
				case <-r.Context().Done():
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	return g
}

// push pushes an image of layers that hold a file each, and returns their digests.
func (g *gate) push(t *testing.T, name string, files ...string) (ref string, digests []string) {
	t.Helper()
	ref = g.host + "/" + name + ":latest"
	image := testImage(t, here, files...)
	push(t, ref, image)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		digests = append(digests, textOf(t, func() (v1.Hash, error) { return l.Digest() }))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, digest := range digests {
		g.counts[digest] = 0
	}
	return ref, digests
}

// requests waits for so many requests.
func (g *gate) requests(n int) {
	for range n {
		<-g.arrived
	}
}

// pulling is a pull on a goroutine.
type pulling struct {
	waits chan struct{} // closed once it waits for another one
	done  chan error
}

func startPull(ctx context.Context, s *Store, ref string) *pulling {
	p := &pulling{make(chan struct{}), make(chan error, 1)}
	go func() {
		waits := sync.OnceFunc(func() { close(p.waits) })
		_, err := s.Pull(ctx, ref, ResolveOptions{Progress: func(e Event) {
			if e.Status == "waiting" {
				waits()
			}
		}})
		p.done <- err
	}()
	return p
}

// Of two pulls that need the same layer one fetches it, and the other waits. If the
// first fails, the second fetches it.
func TestPullSharesLayer(t *testing.T) {
	for name, fails := range map[string]bool{"both succeed": false, "the first ends": true} {
		t.Run(name, func(t *testing.T) {
			g, s := newGate(t), newStore(t)
			one, digests := g.push(t, "one", "shared", "a")
			two, _ := g.push(t, "two", "shared")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			first := startPull(ctx, s, one)
			g.requests(2)
			second := startPull(context.Background(), s, two)
			<-second.waits
			if fails {
				cancel()
				if err := <-first.done; !errors.Is(err, context.Canceled) {
					t.Errorf("the first: %v", err)
				}
				g.requests(1)
			}
			close(g.opened)
			if !fails {
				if err := <-first.done; err != nil {
					t.Errorf("the first: %v", err)
				}
			}
			if err := <-second.done; err != nil {
				t.Errorf("the second: %v", err)
			}
			want := 1
			if fails {
				want = 2
			}
			if got := g.counts[digests[0]]; got != want {
				t.Errorf("the shared layer was asked for %d times; want %d", got, want)
			}
			if got := filesOf(t, resolve(t, s, two)); got != "shared" {
				t.Errorf("the files are %s", got)
			}
		})
	}
}

// Two pulls that need each other's layers do not wait for ever, and neither of those is
// fetched twice.
func TestPullCrosswise(t *testing.T) {
	g, s := newGate(t), newStore(t)
	one, digests := g.push(t, "one", "x", "a", "b", "c", "y")
	two, _ := g.push(t, "two", "y", "d", "e", "f", "x")
	first, second := startPull(context.Background(), s, one), startPull(context.Background(), s, two)
	g.requests(2 * maxAtOnce) // the first has x, and the second y
	close(g.opened)
	if err := errors.Join(<-first.done, <-second.done); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 4} {
		if got := g.counts[digests[i]]; got != 1 {
			t.Errorf("layer %d was asked for %d times", i, got)
		}
	}
	for ref, want := range map[string]string{one: "x a b c y", two: "y d e f x"} {
		if got := filesOf(t, resolve(t, s, ref)); got != want {
			t.Errorf("%s: the files are %s; want %s", ref, got, want)
		}
	}
}

// The sweep of another process, which looks whether a claim's process has died, is no claim.
func TestClaimDuringSweep(t *testing.T) {
	s := newStore(t)
	var sweeps errgroup.Group
	ctx, stop := context.WithCancel(context.Background())
	sweeps.Go(func() error {
		for ctx.Err() == nil {
			w, err := s.newWorkDir()
			if err != nil {
				return err
			}
			if err := w.remove(); err != nil {
				return err
			}
		}
		return nil
	})
	busy := 0
	for i := range 2000 {
		a := &addition{store: s}
		id := fmt.Sprintf("sha256:%064x", i)
		if err := a.claim(ctx, id); errors.Is(err, errClaimed) {
			busy++
		} else if err != nil {
			t.Error(err)
		}
		a.dropClaims()
	}
	stop()
	if err := sweeps.Wait(); err != nil || busy > 0 {
		t.Errorf("%d of 2000 claims that nobody else has are refused; %v", busy, err)
	}
}

// A pull that waits for another one ends when it is told to.
func TestPullEndsWaiting(t *testing.T) {
	g, s := newGate(t), newStore(t)
	ref, _ := g.push(t, "one", "a")
	close(g.opened)
	image, err := testImage(t, here, "a").ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	work, err := s.newWorkDir()
	if err != nil {
		t.Fatal(err)
	}
	claim, err := s.claimLayer(context.Background(), image.RootFS.DiffIDs[0].String(), true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	waiting := startPull(ctx, s, ref)
	<-waiting.waits
	cancel()
	if err := <-waiting.done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	dropClaim(claim)
	if err := work.remove(); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
}
