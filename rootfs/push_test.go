package rootfs

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/minirun/minirun/internal/hint"
)

func remoteImage(t *testing.T, ref string) v1.Image {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	return image
}

// uploads counts the blobs that are uploaded to a registry.
func uploads(count *int) func(http.Handler) http.Handler {
	var mu sync.Mutex
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPatch {
				mu.Lock()
				*count++
				mu.Unlock()
			}
			next.ServeHTTP(w, r)
		})
	}
}

// If the registry or the store has the packed layers, the digest of the manifest stays the
// same. Otherwise only the image's ID does.
func TestPush(t *testing.T) {
	sent := 0
	host, other, empty := newRegistry(t, uploads(&sent)), newRegistry(t, nil), newRegistry(t, nil)
	push(t, host+"/app:1", testImage(t, here, "a", "b"))
	s := newStore(t)
	image := resolve(t, s, host+"/app:1")
	for name, tt := range map[string]struct {
		ref    string
		packed bool
		same   bool
	}{
		"the same repository":  {host + "/app:2", false, true},
		"another repository":   {host + "/group/copy:1", false, true},
		"another registry":     {empty + "/app:1", false, false}, // the cases come in any order
		"with packed layers":   {other + "/packed:1", true, true},
		"to the third of them": {other + "/third", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.packed {
				keepPacked(t, s, remoteImage(t, host+"/app:1"))
			}
			if err := s.Tag(host+"/app:1", tt.ref); err != nil { // what is not needed is removed
				t.Fatal(err)
			}
			var events []string
			pushed, err := s.Push(context.Background(), tt.ref, ResolveOptions{Progress: func(e Event) { events = append(events, e.Status) }})
			if err != nil {
				t.Fatal(err)
			}
			got := remoteImage(t, tt.ref)
			if digest := textOf(t, got.Digest); digest != pushed.Digest || (digest == image.Digest) != tt.same {
				t.Errorf("%s, and the registry has %s, from %s", pushed.Digest, digest, image.Digest)
			}
			info, err := s.Describe(tt.ref, "")
			if err != nil || textOf(t, got.ConfigName) != info.ID {
				t.Errorf("%+v, %v", info, err)
			}
			again := newStore(t)
			if files := filesOf(t, resolve(t, again, tt.ref)); files != "a b" {
				t.Errorf("%q", files)
			}
			if tt.packed {
				for _, digest := range packedIn(t, s, image.Digest) {
					_ = os.Remove(s.blob(digest))
				}
			}
			if len(events) == 0 {
				t.Error("no progress")
			}
		})
	}
	before := sent
	if _, err := s.Push(context.Background(), host+"/app:2", ResolveOptions{}); err != nil || sent != before {
		t.Errorf("%d more blobs were sent: %v", sent-before, err)
	}
}

func packedIn(t *testing.T, s *Store, manifest string) (digests []string) {
	t.Helper()
	m, _, err := s.readManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		digests = append(digests, l.Digest.String())
	}
	return digests
}

func TestPushRefuses(t *testing.T) {
	denied := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Path == "/v2/" {
				next.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(http.StatusUnauthorized)
		})
	})
	s, a, _ := twoImages(t)
	before := namesIn(t, s)
	for _, name := range []string{denied + "/app", "127.0.0.1:1/app"} {
		if err := s.Tag(a, name); err != nil {
			t.Fatal(err)
		}
		before = append(before, name+":latest")
	}
	info, err := s.Describe(a, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ ref, want, hint string }{
		{denied + "/app", "denies access", "docker login " + denied},
		{"127.0.0.1:1/app", "cannot be reached", "check the name"},
		{"no-such-image", "no such image", ""},
		{info.ID, "not a name with a tag", "a name with a tag"},
		{info.ID[len("sha256:"):][:12], "no such image", ""},
		{a, "not a name with a tag", "a name with a tag"},
		{"app@" + info.ID, "not a name with a tag", "a name with a tag"},
	} {
		_, err := s.Push(context.Background(), tt.ref, ResolveOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "push ") || !strings.Contains(hint.Text(err), tt.hint) {
			t.Errorf("push %s: %v, hint %q; want %q", tt.ref, err, hint.Text(err), tt.want)
		}
	}
	slices.Sort(before)
	if got := namesIn(t, s); !slices.Equal(got, before) {
		t.Errorf("%q, was %q", got, before)
	}
	if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Push(ctx, denied+"/app", ResolveOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
