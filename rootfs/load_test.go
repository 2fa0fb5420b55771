package rootfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// oldArchive makes what docker save wrote before Docker 25, of images with one layer
// and these names, separated by spaces.
func oldArchive(t *testing.T, names ...string) []byte {
	t.Helper()
	var entries []tarEntry
	var list []string
	for i, all := range names {
		layer := makeTar(t, file(fmt.Sprintf("file%d", i), ""))
		tags := "null"
		if all != "" {
			tags = `["` + strings.ReplaceAll(all, " ", `","`) + `"]`
		}
		entries = append(entries, file(fmt.Sprintf("%d/layer.tar", i), string(layer)), file(fmt.Sprintf("%d.json", i), configWith(t, digestOf(layer))))
		list = append(list, fmt.Sprintf(`{"Config":"%d.json","RepoTags":%s,"Layers":["%d/layer.tar"]}`, i, tags, i))
	}
	return makeTar(t, append(entries, file("manifest.json", "["+strings.Join(list, ",")+"]"))...)
}

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoad(t *testing.T) {
	old := oldArchive(t, "one:1 example.com/one", "two", "")
	want := []string{"docker.io/library/one:1", "docker.io/library/two:latest", "example.com/one:latest", "sha256:"}
	for name, data := range map[string][]byte{"old archive": old, "compressed": compressed(t, old)} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			images, err := s.Load(context.Background(), write(t, filepath.Join(t.TempDir(), "x"), data), ResolveOptions{})
			if err != nil || len(images) != 4 {
				t.Fatalf("%+v, %v", images, err)
			}
			got := namesIn(t, s)
			if got[3] = got[3][:len("sha256:")]; !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			checkNameless(t, s, images[3].ID)
		})
	}
}

// checkNameless checks that an image without a name can be used and named by its ID.
func checkNameless(t *testing.T, s *Store, id string) {
	t.Helper()
	if got := filesOf(t, resolve(t, s, id[len("sha256:"):][:10])); got != "file2" {
		t.Errorf("%q", got)
	}
	if err := s.Tag(id, "three"); err != nil {
		t.Fatal(err)
	}
	if got := namesIn(t, s); slices.Contains(got, id) || !slices.Contains(got, "docker.io/library/three:latest") {
		t.Errorf("%q", got)
	}
}

// The names of a layout's images are those that containerd and Docker give them; a tag
// alone is no name. Attestations are not images.
func TestLoadLayout(t *testing.T) {
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	foreign := v1.ImageIndex(empty.Index)
	for p, f := range map[*v1.Platform]string{&here: "here", &there: "there"} {
		foreign = mutate.AppendManifests(foreign, mutate.IndexAddendum{Add: testImage(t, *p, f), Descriptor: v1.Descriptor{Platform: p}})
	}
	named := func(key, name string) layout.Option { return layout.WithAnnotations(map[string]string{key: name}) }
	for _, err := range []error{
		path.AppendImage(testImage(t, here, "a"), named(annotationFullName, "docker.io/library/a:1")),
		path.AppendImage(testImage(t, here, "b"), named(annotationName, "example.com/b:1")),
		path.AppendImage(testImage(t, here, "c"), named(annotationName, "latest")),
		path.AppendImage(testImage(t, here, "file2")),
		path.AppendImage(testImage(t, v1.Platform{OS: "unknown", Architecture: "unknown"}, "attestation"), layout.WithPlatform(v1.Platform{OS: "unknown", Architecture: "unknown"})),
		path.AppendIndex(foreign, named(annotationFullName, "docker.io/library/many:latest")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	archive := filepath.Join(t.TempDir(), "x.tar")
	run(t, "tar", "-C", dir, "-cf", archive, ".")
	for _, input := range []string{dir, archive} {
		s := newStore(t)
		images, err := s.Load(context.Background(), input, ResolveOptions{})
		if err != nil || len(images) != 5 {
			t.Fatalf("%+v, %v", images, err)
		}
		got := namesIn(t, s)
		want := []string{"docker.io/library/a:1", "docker.io/library/many:latest", "example.com/b:1", images[2].ID, images[3].ID}
		slices.Sort(want[3:])
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if got := filesOf(t, resolve(t, s, "many")); got != "here" {
			t.Errorf("%q", got)
		}
		if again, err := s.Load(context.Background(), input, ResolveOptions{}); err != nil || len(again) != 5 || len(namesIn(t, s)) != 5 {
			t.Errorf("again: %+v, %v", again, err)
		}
		checkNameless(t, s, images[3].ID)
	}
}

func TestLoadRefuses(t *testing.T) {
	good := oldArchive(t, "one", "two")
	for name, tt := range map[string]struct {
		data []byte
		want string
		left int // images that stay
	}{
		"a root":              {makeTar(t, file("etc/passwd", "")), "neither index.json nor manifest.json", 0},
		"nothing":             {nil, "neither index.json nor manifest.json", 0},
		"no tarball":          {bytes.Repeat([]byte("text "), 200), "not a tar", 0},
		"no images":           {makeTar(t, file("manifest.json", "[]")), "the archive has 0 images", 0},
		"an empty layout":     {makeTar(t, file("index.json", `{"schemaVersion":2,"manifests":[]}`)), "the layout has 0 images", 0},
		"not JSON":            {makeTar(t, file("index.json", `nothing`)), "invalid character", 0},
		"truncated":           {good[:len(good)/2], "truncated", 0},
		"the second is wrong": {makeTwo(t), "no file", 1},
		"a bad name":          {oldArchive(t, "case/UPPER"), "lowercase", 0},
		"a missing blob": {makeTar(t, file("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"`+string(types.OCIManifestSchema1)+
			`","size":2,"digest":"sha256:`+strings.Repeat("a", 64)+`"}]}`)), "no such file", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			_, err := s.LoadFrom(context.Background(), bytes.NewReader(tt.data), ResolveOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want one with %q", err, tt.want)
			}
			if got := namesIn(t, s); len(got) != tt.left {
				t.Errorf("the store has %q", got)
			}
			if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
	s := newStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.LoadFrom(ctx, bytes.NewReader(good), ResolveOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	isEmpty(t, s)
}

// makeTwo makes an archive whose second image has no layer.
func makeTwo(t *testing.T) []byte {
	t.Helper()
	layer := makeTar(t, file("a", ""))
	return makeTar(t, file("layer.tar", string(layer)), file("c.json", configWith(t, digestOf(layer))),
		file("d.json", configWith(t, digestOf(nil))),
		file("manifest.json", `[{"Config":"c.json","RepoTags":["one"],"Layers":["layer.tar"]},{"Config":"d.json","RepoTags":["two"],"Layers":["gone.tar"]}]`))
}
