package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	archives "github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	testenv.Root(t) // layers are unpacked with their owners
	s, err := OpenStore(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// holdings lists what a store has, without the lock.
func holdings(t testing.TB, s *Store) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(s.root, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(s.root, path)
		if err == nil && name != "lock" && strings.Count(name, "/") <= 2 {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func isEmpty(t testing.TB, s *Store) {
	t.Helper()
	got := slices.DeleteFunc(holdings(t, s), func(name string) bool { return name == "index.json" })
	if want := []string{".", "blobs", "blobs/sha256", "layers", "layers/sha256", "oci-layout", "tmp"}; !slices.Equal(got, want) {
		t.Errorf("the store has %q", got)
	}
	if images, err := s.Images(); err != nil || len(images) != 0 {
		t.Errorf("the store has %v, %v", images, err)
	}
}

func resolve(t testing.TB, s *Store, ref string) *Image {
	t.Helper()
	image, err := s.Resolve(context.Background(), ref, ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = image.Close() })
	return image
}

func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// testImage makes an image of layers that hold a file each.
func testImage(t testing.TB, p v1.Platform, files ...string) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Cmd: []string{"run", files[0]}, Env: []string{"A=b"}, User: "7", WorkingDir: "/w", Volumes: map[string]struct{}{"/v": {}, "/a": {}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data := makeTar(t, file(f, f))
		layer, err := archives.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

var (
	here  = v1.Platform{OS: "linux", Architecture: hostPlatform().Architecture}
	there = v1.Platform{OS: "linux", Architecture: "riscv64"}
)

func hostPlatform() v1.Platform {
	p, err := parsePlatform("")
	if err != nil {
		panic(err)
	}
	return p
}

func filesOf(t testing.TB, image *Image) string {
	t.Helper()
	var names []string
	for _, layer := range image.Layers {
		entries, err := os.ReadDir(layer)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
	}
	return strings.Join(names, " ")
}

func TestResolveInPlace(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	if image := resolve(t, s, "dir:"+dir); image.Name != "dir:"+dir || !slices.Equal(image.Layers, []string{dir}) {
		t.Errorf("dir: is %+v", image)
	}
	if image := resolve(t, s, "host:"); !slices.Equal(image.Layers, []string{"/"}) {
		t.Errorf("host: is %+v", image)
	}
	isEmpty(t, s)
}

func TestRemove(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	for _, image := range []string{"a", "b"} {
		path, err := layout.Write(dir+"/"+image, empty.Index)
		if err != nil || path.AppendImage(testImage(t, here, "shared", image)) != nil {
			t.Fatal(err)
		}
	}
	a, b := "oci:"+dir+"/a", "oci:"+dir+"/b"
	used, other := resolve(t, s, a), resolve(t, s, b)
	if _, err := s.Remove(a, false); !errors.Is(err, ErrInUse) {
		t.Errorf("an image in use: %v", err)
	}
	_ = other.Close()
	if _, err := s.Remove(b, false); err != nil {
		t.Error(err)
	}
	if got := filesOf(t, used); got != "shared a" {
		t.Errorf("a shared layer went with the other image: %q", got)
	}
	if _, err := s.Remove(b, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
	_ = used.Close()
	if _, err := s.Remove(a, false); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
}

func TestImageID(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	path := write(t, filepath.Join(t.TempDir(), "x.tar"), makeTar(t, file("one", "")))
	image := resolve(t, s, path)
	images, err := s.Images()
	if err != nil {
		t.Fatal(err)
	}
	id := images[0].ID
	for _, text := range []string{id, id[7:], id[7:19], id[7:10], id[7:8]} {
		got, err := s.Resolve(ctx, text, ResolveOptions{Pull: PullNever})
		if err != nil || got.Digest != image.Digest {
			t.Errorf("%s: %v, %v", text, got, err)
			continue
		}
		_ = got.Close()
	}
	for _, text := range []string{someDigest, "123456789abc"} {
		if got, err := s.Resolve(ctx, text, ResolveOptions{Pull: PullNever}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	_ = image.Close()
	if _, err := s.Remove(id[7:19], false); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
}

// A killed process leaves a work directory, and the next that adds removes it.
func TestAddKilled(t *testing.T) {
	s := newStore(t)
	command := childCommand(t, "add", s.root)
	out, err := command.StdoutPipe()
	if err != nil || command.Start() != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil { // it is unpacking
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.path("tmp")); len(left) != 1 {
		t.Errorf("work directories of a living process: %v", left)
	}
	live, err := s.newWorkDir()
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.path("tmp")); len(left) != 2 {
		t.Errorf("a living process's directory was swept: %v", left)
	}
	if err := errors.Join(live.remove(), command.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	next, err := s.newWorkDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := next.remove(); err != nil {
		t.Fatal(err)
	}
	isEmpty(t, s)
}

// addChild adds an image whose layer never ends, and says when it is unpacked
// up to there.
func addChild() error {
	var root string
	if err := json.NewDecoder(os.Stdin).Decode(&root); err != nil {
		return err
	}
	s, err := OpenStore(root)
	if err != nil {
		return err
	}
	_, err = s.add(context.Background(), &content{layers: []layerSource{{
		open: func(context.Context) (io.ReadCloser, error) { return &endless{}, nil },
	}}}, nil)
	return err
}

type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read++; e.read == 3 {
		fmt.Println("x")
		_ = unix.Pause()
	}
	clear(p)
	return copy(p, "name\x00"), nil
}

func (e *endless) Close() error { return nil }

func TestAddTwiceAtOnce(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil || path.AppendImage(testImage(t, here, "a", "b")) != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path("tmp")); err != nil { // as in a copy of a store without what is unfinished
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			image, err := s.Resolve(context.Background(), "oci:"+dir, ResolveOptions{Pull: PullAlways})
			if err != nil {
				t.Error(err)
				return
			}
			if got := filesOf(t, image); got != "a b" {
				t.Errorf("%q", got)
			}
			_ = image.Close()
		})
	}
	group.Wait()
	if images, err := s.Images(); err != nil || len(images) != 1 {
		t.Errorf("%v, %v", images, err)
	}
	if _, err := s.Remove("oci:"+dir, false); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
}

// Processes that make a store at the same time do not sweep up each other's files.
func TestOpenStoreAtOnce(t *testing.T) {
	for range 30 {
		root := filepath.Join(t.TempDir(), "store")
		const processes = 8
		failed := make(chan error, processes)
		for range processes {
			go func() {
				s, err := OpenStore(root)
				if err == nil {
					var work *workDir
					if work, err = s.newWorkDir(); err == nil { // it sweeps
						err = work.remove()
					}
				}
				failed <- err
			}()
		}
		for range processes {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOpenStoreOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir); err == nil || !strings.Contains(err.Error(), "written by others") {
		t.Errorf("%v", err)
	}
}

func TestDamagedStore(t *testing.T) {
	s := newStore(t)
	path := write(t, filepath.Join(t.TempDir(), "x.tar"), makeTar(t, file("one", "")))
	image := resolve(t, s, path)
	_ = image.Close()
	if err := os.RemoveAll(image.Layers[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve(context.Background(), path, ResolveOptions{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
	if _, err := s.Remove(path, false); err != nil {
		t.Error(err)
	}
	if got := filesOf(t, resolve(t, s, path)); got != "one" {
		t.Errorf("%q", got)
	}
}

func BenchmarkResolve(b *testing.B) {
	s := newStore(b)
	path := write(b, filepath.Join(b.TempDir(), "x.tar"), makeTar(b, file("one", "")))
	for b.Loop() {
		image, err := s.Resolve(context.Background(), path, ResolveOptions{})
		if err != nil {
			b.Fatal(err)
		}
		_ = image.Close()
	}
}
