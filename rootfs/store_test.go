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
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	archives "github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

func newStore(t testing.TB) *Store {
	t.Helper()
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

func hostPlatform() platform {
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

func TestResolveRootTarball(t *testing.T) {
	s := newStore(t)
	path := write(t, filepath.Join(t.TempDir(), "x.tar.gz"), compress(t, "gzip", makeTar(t, folder("./", 0o755), file("one", ""))))
	image := resolve(t, s, path)
	if got := filesOf(t, image); got != "one" || image.Name != path {
		t.Errorf("%q of %q", got, image.Name)
	}
	if again := resolve(t, s, path); again.Digest != image.Digest {
		t.Errorf("read again: %s, %s", again.Digest, image.Digest)
	}
	_ = image.Close()
	// A changed file is read again, and what it was goes away.
	write(t, path, makeTar(t, file("two", "")))
	if got := filesOf(t, resolve(t, s, path)); got != "two" {
		t.Errorf("after a change: %q", got)
	}
	if images, err := s.Images(); err != nil || len(images) != 1 {
		t.Errorf("%v, %v", images, err)
	}
}

func TestResolveArchives(t *testing.T) {
	dir := t.TempDir()
	image := testImage(t, here, "low", "high", "low")
	tag, err := name.NewTag("example.com/me/tool:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := archives.WriteToFile(dir+"/docker.tar", tag, image); err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(dir+"/layout", empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []struct {
		image v1.Image
		tag   string
		p     v1.Platform
	}{{image, "v1", here}, {testImage(t, there, "elsewhere"), "v1", there}, {testImage(t, here, "second"), "v2", here}} {
		if err := path.AppendImage(other.image, layout.WithPlatform(other.p), layout.WithAnnotations(map[string]string{annotationName: other.tag})); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "tar", "-C", dir+"/layout", "-cf", dir+"/oci.tar", ".")
	run(t, "gzip", "-k", dir+"/docker.tar")
	for ref, want := range map[string]string{
		dir + "/docker.tar":                                            "high low",
		dir + "/docker.tar.gz":                                         "high low",
		"docker-archive:" + dir + "/docker.tar":                        "high low",
		"docker-archive:" + dir + "/docker.tar:example.com/me/tool:v1": "high low",
		"oci:" + dir + "/layout:v1":                                    "high low",
		"oci:" + dir + "/layout:v2":                                    "second",
		"oci-archive:" + dir + "/oci.tar:v2":                           "second",
	} {
		s := newStore(t)
		got := resolve(t, s, ref)
		if filesOf(t, got) != want {
			t.Errorf("%s: %q, want %q", ref, filesOf(t, got), want)
		}
		if want == "second" {
			continue
		}
		c := got.Config
		if c.Cmd[0] != "run" || c.Env[0] != "A=b" || c.User != "7" || c.WorkingDir != "/w" || !slices.Equal(c.Volumes, []string{"/a", "/v"}) {
			t.Errorf("%s: %+v", ref, c)
		}
	}
	s := newStore(t)
	elsewhere, err := s.Resolve(context.Background(), "oci:"+dir+"/layout:v1", ResolveOptions{Platform: "linux/riscv64"})
	if err != nil || filesOf(t, elsewhere) != "elsewhere" {
		t.Errorf("another platform: %v, %v", elsewhere, err)
	}
}

func run(t testing.TB, command string, arguments ...string) {
	t.Helper()
	if out, err := exec.Command(command, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// Bad input is one clear error, and the store is as it was.
func TestResolveRefuses(t *testing.T) {
	dir := t.TempDir()
	image := testImage(t, here, "low", "high")
	tag, _ := name.NewTag("tool")
	if err := archives.WriteToFile(dir+"/docker.tar", tag, image); err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(dir + "/docker.tar")
	if err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(dir+"/layout", empty.Index)
	if err != nil || path.AppendImage(image) != nil {
		t.Fatal(err)
	}
	layers, _ := image.Layers()
	digest, _ := layers[1].Digest()
	write(t, dir+"/layout/blobs/sha256/"+digest.Hex, compress(t, "gzip", makeTar(t, file("evil", ""))))
	write(t, dir+"/cut.tar", saved[:len(saved)*2/3])
	write(t, dir+"/root.tar", makeTar(t, file("fine", ""), file("../evil", "")))
	write(t, dir+"/root-cut.tar", makeTar(t, file("fine", strings.Repeat("x", 5000)))[:2000])
	write(t, dir+"/text", []byte("hello"))
	swapped := bytes.Replace(saved, []byte("high"), []byte("evil"), 1)
	write(t, dir+"/swapped.tar", swapped)
	for ref, want := range map[string]string{
		"oci:" + dir + "/layout":          "its digest is",
		dir + "/cut.tar":                  "unexpected EOF",
		dir + "/root.tar":                 "leads outside",
		dir + "/root-cut.tar":             "unexpected EOF",
		dir + "/text":                     "unexpected EOF",
		dir + "/none.tar":                 "no such file",
		dir:                               "it is a folder",
		"dir:" + dir + "/none":            "no such file",
		"dir:" + dir + "/text":            "not a directory",
		"oci:" + dir + "/layout:none":     "no image has the name",
		"oci:" + dir:                      "no such file",
		"docker-archive:" + dir + "/text": "unexpected EOF",
		"docker-archive:" + dir + "/docker.tar:other": "not found in tarball",
		"/dev/null": "not a regular file",
	} {
		t.Run(filepath.Base(ref), func(t *testing.T) {
			s := newStore(t)
			image, err := s.Resolve(context.Background(), ref, ResolveOptions{})
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, %v; want an error of one line with %q", ref, image, err, want)
			}
			isEmpty(t, s)
		})
	}
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
	ctx := context.Background()
	if err := s.Remove(ctx, a); !errors.Is(err, ErrInUse) {
		t.Errorf("an image in use: %v", err)
	}
	_ = other.Close()
	if err := s.Remove(ctx, b); err != nil {
		t.Error(err)
	}
	if got := filesOf(t, used); got != "shared a" {
		t.Errorf("a shared layer went with the other image: %q", got)
	}
	if err := s.Remove(ctx, b); !errors.Is(err, ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
	_ = used.Close()
	if err := s.Remove(ctx, a); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
}

// A killed process leaves a work folder, and the next that adds removes it.
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
		t.Errorf("work folders of a living process: %v", left)
	}
	live, err := s.newWorkDir()
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.path("tmp")); len(left) != 2 {
		t.Errorf("a living process's folder was swept: %v", left)
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
	if err := s.Remove(context.Background(), "oci:"+dir); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
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
	if err := s.Remove(context.Background(), path); err != nil {
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
