package rootfs

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minirun/minirun/internal/hint"
)

func TestPull(t *testing.T) {
	ctx := context.Background()
	var requests atomic.Int64
	host := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			next.ServeHTTP(w, r)
		})
	})
	image := testImage(t, here, "a", "b")
	push(t, host+"/me/tool:v1", image)
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}

	s := newStore(t)
	never := ResolveOptions{Pull: PullNever}
	if _, err := s.Resolve(ctx, host+"/me/tool:v1", never); !errors.Is(err, ErrNotFound) || requests.Load() == 0 {
		t.Errorf("--pull never: %v", err)
	}
	var events []Event
	info, err := s.Pull(ctx, host+"/me/tool:v1", ResolveOptions{Progress: func(e Event) { events = append(events, e) }})
	if err != nil {
		t.Fatal(err)
	}
	if info.Name != host+"/me/tool:v1" || info.Digest != digest.String() || info.Platform != "linux/"+here.Architecture || info.Size == 0 {
		t.Errorf("%+v", info)
	}
	if len(events) < 3 {
		t.Errorf("events: %v", events)
	}
	before := requests.Load()
	for _, ref := range []string{host + "/me/tool:v1", host + "/me/tool@" + digest.String()} {
		got, err := s.Resolve(ctx, ref, ResolveOptions{})
		if err != nil || filesOf(t, got) != "a b" {
			t.Errorf("%s, stored: %v, %v", ref, got, err)
			continue
		}
		_ = got.Close()
	}
	if requests.Load() != before {
		t.Error("the registry was asked for what the store has")
	}
	// The tag moves: --pull missing keeps the old, always takes the new.
	push(t, host+"/me/tool:v1", testImage(t, here, "a", "c"))
	for _, c := range []struct {
		policy PullPolicy
		want   string
	}{{"", "a b"}, {PullMissing, "a b"}, {PullNever, "a b"}, {PullAlways, "a c"}, {PullMissing, "a c"}} {
		got, err := s.Resolve(ctx, host+"/me/tool:v1", ResolveOptions{Pull: c.policy})
		if err != nil {
			t.Fatalf("--pull %s: %v", c.policy, err)
		}
		if files := filesOf(t, got); files != c.want {
			t.Errorf("--pull %s: the files are %s; want %s", c.policy, files, c.want)
		}
		_ = got.Close()
	}
	if _, err := s.Remove(host+"/me/tool:v1", false); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
}

func TestPullByDigest(t *testing.T) {
	host := newRegistry(t, nil)
	image := testImage(t, here, "a")
	push(t, host+"/tool:v1", image)
	digest, _ := image.Digest()
	s := newStore(t)
	ref := host + "/tool@" + digest.String()
	if got := resolve(t, s, ref); filesOf(t, got) != "a" || got.Name != ref {
		t.Errorf("%+v", got)
	}
}

func TestPullPlatforms(t *testing.T) {
	ctx := context.Background()
	host := newRegistry(t, nil)
	attestation := v1.Platform{OS: "unknown", Architecture: "unknown"}
	digest := pushIndex(t, host+"/tool", map[*v1.Platform]v1.Image{
		&here: testImage(t, here, "here"), &there: testImage(t, there, "there"), &attestation: testImage(t, there, "attestation"),
	})
	s := newStore(t)
	for asked, want := range map[string]string{"": "here", "linux/riscv64": "there", "riscv64": "there"} {
		for _, ref := range []string{host + "/tool", host + "/tool@" + digest.String()} {
			got, err := s.Resolve(ctx, ref, ResolveOptions{Platform: asked})
			if err != nil || filesOf(t, got) != want {
				t.Fatalf("%s for %q: %v, %v", ref, asked, got, err)
			}
			_ = got.Close()
		}
	}
	_, err := s.Resolve(ctx, host+"/tool", ResolveOptions{Platform: "linux/s390x"})
	if err == nil || !strings.Contains(err.Error(), "the image exists for linux/"+here.Architecture+", linux/riscv64, not for linux/s390x") || strings.Contains(err.Error(), "unknown") {
		t.Errorf("a platform that is missing: %v", err)
	}
	for _, bad := range []string{"windows/amd64", "a/b/c/d", "linux/", "nosuch", "linux/nosuch"} {
		if _, err := s.Resolve(ctx, host+"/tool", ResolveOptions{Platform: bad}); err == nil || !strings.Contains(err.Error(), "--platform "+bad) {
			t.Errorf("--platform %s: %v", bad, err)
		}
	}
}

// A registry that lies or stops: one error, and the store is as before.
func TestPullRefuses(t *testing.T) {
	image := testImage(t, here, "a", "b")
	manifest, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	layers, _ := image.Layers()
	layerDigest, _ := layers[1].Digest()
	blob := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, layerDigest.String()) }
	for what, c := range map[string]struct {
		meddle func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
		want   string
	}{
		"another layer": {func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				_, _ = w.Write(makeTar(t, file("evil", "")))
			}
			return blob(r)
		}, ""},
		"half a layer": {func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				reader, _ := layers[1].Compressed()
				data, _ := io.ReadAll(reader)
				w.Header().Set("Content-Length", fmt.Sprint(len(data)))
				_, _ = w.Write(data[:len(data)/2])
			}
			return blob(r)
		}, "EOF"},
		"another manifest": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			_, _ = w.Write(bytes.Replace(manifest, []byte("{"), []byte("{ "), 1))
			return true
		}, "digest"},
		"an error": {func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				http.Error(w, "out of order", http.StatusNotFound)
			}
			return blob(r)
		}, "404"},
	} {
		t.Run(what, func(t *testing.T) {
			var meddling atomic.Bool
			host := newRegistry(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if !meddling.Load() || r.Method == http.MethodHead || !c.meddle(w, r) {
						next.ServeHTTP(w, r)
					}
				})
			})
			push(t, host+"/tool:v1", image)
			digest, _ := image.Digest()
			meddling.Store(true)
			s := newStore(t)
			s.pause = time.Millisecond
			_, err := s.Resolve(context.Background(), host+"/tool@"+digest.String(), ResolveOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v; want an error of one line with %q", err, c.want)
			}
			hasOnlyWhole(t, s, layers[:1])
		})
	}
}

// hasOnlyWhole fails the test if a store has more than some layers, and these changed.
func hasOnlyWhole(t *testing.T, s *Store, layers []v1.Layer) {
	t.Helper()
	for _, l := range layers {
		diffID, err := l.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(s.layer(diffID.String())); err == nil && !s.isIntact(diffID.String()) {
			t.Errorf("%s is not whole", diffID)
		}
	}
	if err := s.collect(&index{}); err != nil { // as a removal does
		t.Error(err)
	}
	isEmpty(t, s)
}

// A name that is nearly that of an image of the store.
func TestPullMisspelt(t *testing.T) {
	ctx := context.Background()
	host := newRegistry(t, nil)
	push(t, host+"/me/tool:v1", testImage(t, here, "a"))
	s := newStore(t)
	if _, err := s.Pull(ctx, host+"/me/tool:v1", ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		host + "/me/tol:v1": "did you mean " + host + "/me/tool:v1?",
		"Foo/bar":           "the name of a repository is lowercase; that of a registry has a dot or a port, or is localhost",
	} {
		_, err := s.Resolve(ctx, ref, ResolveOptions{})
		if hint.Text(err) != want {
			t.Errorf("%s: %v; want the hint %q", ref, err, want)
		}
	}
}

func TestPullMissing(t *testing.T) {
	host := newRegistry(t, nil)
	s := newStore(t)
	_, err := s.Resolve(context.Background(), host+"/none", ResolveOptions{})
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), s.root) || !strings.Contains(err.Error(), host+" answers") {
		t.Errorf("%v", err)
	}
	var known *Error
	_, err = s.Resolve(context.Background(), "debian", ResolveOptions{Pull: PullNever})
	if !errors.As(err, &known) || known.Cause != CauseDebian || known.Name != "debian" {
		t.Errorf("%v", err)
	}
	isEmpty(t, s)
}

func TestPullCredentials(t *testing.T) {
	ctx := context.Background()
	host := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	s := newStore(t)
	_, err := s.Resolve(ctx, host+"/tool", ResolveOptions{})
	if err == nil || !strings.Contains(err.Error(), "denies access") || !strings.Contains(hint.Text(err), "docker login "+host) {
		t.Errorf("without credentials: %v", err)
	}
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	secret := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	write(t, config+"/config.json", []byte(`{"auths":{"`+host+`":{"auth":"`+secret+`"}}}`))
	_, err = s.Resolve(ctx, host+"/tool", ResolveOptions{})
	if err == nil || strings.Contains(err.Error(), "denies access") || !strings.Contains(err.Error(), "answers") {
		t.Errorf("with credentials an image that is not there is not found: %v", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells the password: %v", err)
	}
}
