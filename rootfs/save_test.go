package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	archives "github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// pulled returns a store with an image of two layers, and the image.
func pulled(t *testing.T) (s *Store, ref string, image v1.Image) {
	t.Helper()
	ref = newRegistry(t, nil) + "/app:1"
	image = testImage(t, here, "a", "b")
	push(t, ref, image)
	s = newStore(t)
	resolve(t, s, ref)
	return s, ref, image
}

func saved(t *testing.T, s *Store, refs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	warn := func(text string) { t.Logf("warning: %s", text) }
	if err := s.Save(context.Background(), &b, ResolveOptions{Warn: warn}, refs...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// keepPacked puts the packed layers of an image into the store.
func keepPacked(t *testing.T, s *Store, image v1.Image) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		r, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close(), os.WriteFile(s.blob(digestOf(data)), data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// What Save writes is read by go-containerregistry, which is crane, as an archive of
// Docker and as an OCI layout, and is the image that was pulled.
func TestSave(t *testing.T) {
	for kind, packed := range map[string]bool{"plain layers": false, "packed layers": true} {
		t.Run(kind, func(t *testing.T) {
			s, ref, image := pulled(t)
			if packed {
				keepPacked(t, s, image)
			}
			file := write(t, filepath.Join(t.TempDir(), "x.tar"), saved(t, s, ref))
			tag, err := name.NewTag(ref)
			if err != nil {
				t.Fatal(err)
			}
			archived, err := archives.ImageFromPath(file, &tag)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			run(t, "tar", "-C", dir, "-xf", file)
			laid := layoutImageOf(t, dir)
			var thorough []validate.Option
			if !packed {
				thorough = []validate.Option{validate.Fast} // it takes each layer of a layout for gzip
			}
			if err := errors.Join(validate.Image(archived), validate.Image(laid, thorough...)); err != nil {
				t.Error(err)
			}
			for _, got := range []v1.Image{archived, laid} {
				if have, want := textOf(t, got.ConfigName), textOf(t, image.ConfigName); have != want {
					t.Errorf("ID %s, want %s", have, want)
				}
			}
			if same := textOf(t, laid.Digest) == textOf(t, image.Digest); same != packed {
				t.Errorf("the manifest is the one that was pulled: %t", same)
			}
		})
	}
}

func layoutImageOf(t *testing.T, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	image, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func textOf(t *testing.T, get func() (v1.Hash, error)) string {
	t.Helper()
	h, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// A name without a tag is all tags of that name, as with docker.
func TestSaveAllTags(t *testing.T) {
	s, ref, _ := pulled(t)
	repository := repositoryOf(ref)
	if err := errors.Join(s.Tag(ref, repository+":other"), s.Tag(ref, repository+"x:third")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		repository:            {ref, repository + ":other"},
		repository + ":other": {repository + ":other"},
		repository + "x":      {repository + "x:third"},
	} {
		other := newStore(t)
		if _, err := other.LoadFrom(t.Context(), bytes.NewReader(saved(t, s, name)), ResolveOptions{}); err != nil {
			t.Fatal(err)
		}
		sameNames(t, name, namesIn(t, other), want...)
	}
	if err := s.Save(t.Context(), io.Discard, ResolveOptions{}, repository+"y"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image that does not exist: %v", err)
	}
}

// Several images are saved together, a layer that they share once, and loaded again
// under their names. The same store gives the same tar.
func TestSaveSeveral(t *testing.T) {
	s, a, b := twoImages(t)
	if err := errors.Join(s.Tag(a, "one"), s.Tag(a, "example.com/one:1"), s.Tag(b, "two")); err != nil {
		t.Fatal(err)
	}
	data := saved(t, s, "one", "two", "example.com/one:1", "one", b)
	if again := saved(t, s, "one", "two", "example.com/one:1", "one", b); !bytes.Equal(data, again) {
		t.Error("the second tar is another one")
	}
	var layers int
	in := tar.NewReader(bytes.NewReader(data))
	for h, err := in.Next(); !errors.Is(err, io.EOF); h, err = in.Next() {
		if err != nil {
			t.Fatal(err)
		}
		if h.Size == 2048 {
			layers++
		}
	}
	if layers != 3 {
		t.Errorf("%d layers", layers)
	}
	other := newStore(t)
	images, err := other.LoadFrom(context.Background(), bytes.NewReader(data), ResolveOptions{})
	if err != nil || len(images) != 3 {
		t.Fatalf("%+v, %v", images, err)
	}
	want := []string{"docker.io/library/one:latest", "docker.io/library/two:latest", "example.com/one:1"}
	if got := namesIn(t, other); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := filesOf(t, resolve(t, other, "two")); got != "shared b" {
		t.Errorf("%q", got)
	}
}

// A layer without a record of its tar is packed anew: the image has another ID, and
// the same files.
func TestSaveWithoutRecord(t *testing.T) {
	data := makeTar(t, dirEntry("dir", 0o750), file("dir/ping", "code").xattr("security.capability", pingCapability),
		hardlink("again", "dir/ping"), symlink("link", "dir"), node("fifo", tar.TypeFifo, 0, 0), node("null", tar.TypeChar, 1, 3),
		file("dir/.wh.gone", ""), dirEntry("opaque", 0o700), file("opaque/.wh..wh..opq", ""), file("opaque/"+strings.Repeat("long", 60), ""), file("twice", "1"), file("twice", "2"))
	s := newStore(t)
	ref := saveImage(t, filepath.Join(t.TempDir(), "x.tar"), "", data)
	before := resolve(t, s, ref)
	var out bytes.Buffer
	var warned string
	if err := s.Save(context.Background(), &out, ResolveOptions{Warn: func(text string) { warned = text }}, ref); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(warned, "its layers cannot be packed as they came") {
		t.Errorf("%q", warned)
	}
	other := newStore(t)
	images, err := other.LoadFrom(context.Background(), &out, ResolveOptions{})
	if err != nil || len(images) != 1 {
		t.Fatalf("%+v, %v", images, err)
	}
	after := resolve(t, other, images[0].ID)
	if want, got := describe(t, before.Layers[0], ""), describe(t, after.Layers[0], ""); !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Equal(after.Config.Cmd, before.Config.Cmd) {
		t.Errorf("%q", after.Config.Cmd)
	}
}

// A damaged image is not saved, and what is missing is named.
func TestSaveDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(s *Store, image *Image) error
		want   string
	}{
		"content": {func(_ *Store, i *Image) error { return os.WriteFile(i.Layers[1]+"/b", []byte("B"), 0o644) }, "the layer's files have changed"},
		"layer":   {func(_ *Store, i *Image) error { return os.RemoveAll(i.Layers[1]) }, "no such file or directory"},
		"packed layer": {func(s *Store, i *Image) error {
			m, _, err := s.readManifest(i.Digest)
			return errors.Join(err, os.WriteFile(s.blob(m.Layers[1].Digest.String()), bytes.Repeat([]byte("x"), int(m.Layers[1].Size)), 0o600))
		}, "has the digest"},
	} {
		t.Run(name, func(t *testing.T) {
			s, ref, image := pulled(t)
			if name == "packed layer" {
				keepPacked(t, s, image)
			}
			if err := c.damage(s, resolve(t, s, ref)); err != nil {
				t.Fatal(err)
			}
			err := s.Save(context.Background(), io.Discard, ResolveOptions{}, ref)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want one with %q", err, c.want)
			}
		})
	}
}
