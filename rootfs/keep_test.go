package rootfs

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// An image that was pulled with its packed layers leaves the store as it came. They are
// fetched also if the store has the unpacked ones, and only once.
func TestKeepPacked(t *testing.T) {
	var mu sync.Mutex
	var fetched []string
	host := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				mu.Lock()
				fetched = append(fetched, filepath.Base(r.URL.Path))
				mu.Unlock()
			}
			next.ServeHTTP(w, r)
		})
	})
	image := testImage(t, here, "a", "b")
	push(t, host+"/app", image)
	packed := packedLayers(t, host+"/app")
	for name, before := range map[string][]bool{"at once": {true}, "later": {false, true}, "twice": {true, true}} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			fetched = nil
			for _, keep := range before {
				if _, err := s.Pull(context.Background(), host+"/app", ResolveOptions{KeepPacked: keep}); err != nil {
					t.Fatal(err)
				}
			}
			times := 1
			if name == "later" {
				times = 2
			}
			for _, digest := range packed {
				if n := len(slices.DeleteFunc(slices.Clone(fetched), func(d string) bool { return d != digest })); n != times {
					t.Errorf("%s was fetched %d times, want %d", digest, n, times)
				}
			}
			checkKept(t, s, host+"/app", textOf(t, image.Digest), packed)
		})
	}
}

func packedLayers(t *testing.T, ref string) (digests []string) {
	t.Helper()
	m, err := remoteImage(t, ref).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		digests = append(digests, l.Digest.String())
	}
	return digests
}

// checkKept checks that a store has packed layers, until they are pruned.
func checkKept(t *testing.T, s *Store, ref, manifest string, packed []string) {
	t.Helper()
	if err := s.Tag(ref, "other"); err != nil { // what nothing needs is removed
		t.Fatal(err)
	}
	dir := t.TempDir()
	run(t, "tar", "-C", dir, "-xf", write(t, filepath.Join(t.TempDir(), "x.tar"), saved(t, s, "other")))
	if got := textOf(t, layoutImageOf(t, dir).Digest); got != manifest {
		t.Errorf("saved with the digest %s, want %s", got, manifest)
	}
	u, err := s.Usage()
	if err != nil || u.Parts[1].Total != len(packed) || u.Parts[1].Size == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if all, err := s.Verify(context.Background()); err != nil || len(all) != 2 || all[0].Problems != nil {
		t.Errorf("%+v, %v", all, err)
	}
	if _, reclaimed, err := s.Prune(PruneOptions{Packed: true}); err != nil || reclaimed != u.Parts[1].Size {
		t.Errorf("%d bytes instead of %d, %v", reclaimed, u.Parts[1].Size, err)
	}
	for _, digest := range packed {
		if _, err := os.Stat(s.blob(digest)); err == nil {
			t.Errorf("%s is left", digest)
		}
	}
	if got := filesOf(t, resolve(t, s, "other")); got != "a b" {
		t.Errorf("%q", got)
	}
}
