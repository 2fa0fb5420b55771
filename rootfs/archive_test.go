package rootfs

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	archives "github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestResolveRootTarball(t *testing.T) {
	s := newStore(t)
	path := write(t, filepath.Join(t.TempDir(), "x.tar.gz"), compress(t, "gzip", makeTar(t, dirEntry("./", 0o755), file("one", ""))))
	image := resolve(t, s, path)
	if got := filesOf(t, image); got != "one" || image.Name != path {
		t.Errorf("%q of %q", got, image.Name)
	}
	if again := resolve(t, s, path); again.Digest != image.Digest {
		t.Errorf("read again: %s, %s", again.Digest, image.Digest)
	}
	_ = image.Close()
	// A changed file is read again, and the image of the old one is removed.
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

// Docker takes a tarball without its end; nothing tells whether more is missing.
func TestResolveTarballWithoutEnd(t *testing.T) {
	data := makeTar(t, file("one", "x"))
	for name, c := range map[string]struct {
		data  []byte
		files string
		warns bool
	}{
		"whole":   {data, "one", false},
		"no end":  {data[:1024], "one", true},
		"gzip":    {compress(t, "gzip", data[:1024]), "one", true},
		"nothing": {nil, "", true},
	} {
		var warnings []string
		path := write(t, filepath.Join(t.TempDir(), "x.tar"), c.data)
		image, err := newStore(t).Resolve(t.Context(), path, ResolveOptions{Warn: func(text string) { warnings = append(warnings, text) }})
		if err != nil || filesOf(t, image) != c.files {
			t.Errorf("%s: %v, %v", name, image, err)
			continue
		}
		_ = image.Close()
		if len(warnings) > 1 || c.warns != (strings.Join(warnings, "") == path+" may be truncated: it has no end-of-archive blocks") {
			t.Errorf("%s: %q", name, warnings)
		}
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
		dir + "/root.tar":                 "leads out of the root",
		dir + "/root-cut.tar":             "unexpected EOF",
		dir + "/text":                     "unexpected EOF",
		dir + "/none.tar":                 "no such file",
		dir:                               "it is a directory",
		"dir:" + dir + "/none":            "no such file",
		"dir:" + dir + "/text":            "not a directory",
		"oci:" + dir + "/layout:none":     "no image has the name",
		"oci:" + dir:                      "no such file",
		"docker-archive:" + dir + "/text": "unexpected EOF",
		"docker-archive:" + dir + "/docker.tar:other": "no image has the name",
		"/dev/null": "not a regular file",
	} {
		t.Run(filepath.Base(ref), func(t *testing.T) {
			s := newStore(t)
			image, err := s.Resolve(context.Background(), ref, ResolveOptions{})
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, %v; want an error of one line with %q", ref, image, err, want)
			}
			hasOnlyWhole(t, s, nil)
		})
	}
}

// Whatever the bytes of a file, reading it ends with an image or an error, and so does
// reading the layers.
func FuzzArchive(f *testing.F) {
	dir := f.TempDir()
	image := testImage(f, here, "low")
	tag, err := name.NewTag("tool")
	if err != nil {
		f.Fatal(err)
	}
	path, err := layout.Write(dir+"/layout", empty.Index)
	if err != nil || path.AppendImage(image) != nil || archives.WriteToFile(dir+"/docker.tar", tag, image) != nil {
		f.Fatal(err)
	}
	run(f, "tar", "-C", dir+"/layout", "-cf", dir+"/oci.tar", ".")
	for _, file := range []string{"docker.tar", "oci.tar"} {
		saved, err := os.ReadFile(dir + "/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(saved)
	}
	f.Add(makeTar(f, dirEntry("./", 0o755), file("one", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := write(t, filepath.Join(t.TempDir(), "x.tar"), data)
		want := here
		c, err := reference{transport: tarball, path: file}.content(t.Context(), want, t.TempDir())
		if err != nil {
			return
		}
		for _, l := range c.layers {
			if stream, err := l.open(t.Context()); err == nil {
				_, _ = io.Copy(io.Discard, io.LimitReader(stream, 1<<20))
				_ = stream.Close()
			}
		}
	})
}
