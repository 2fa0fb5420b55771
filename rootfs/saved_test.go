package rootfs

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// saveImage writes what docker save would of an image with a configuration;
// where it is "", one with the layers. It returns the reference.
func saveImage(t testing.TB, path, config string, layers ...[]byte) string {
	t.Helper()
	saved := savedImage{Config: "config.json", RepoTags: []string{"tool:latest"}}
	var entries []tarEntry
	var diffIDs []string
	for i, data := range layers {
		saved.Layers = append(saved.Layers, fmt.Sprintf("%d/layer.tar", i))
		entries = append(entries, file(saved.Layers[i], string(data)))
		diffIDs = append(diffIDs, digestOf(data))
	}
	if config == "" {
		config = configWith(t, diffIDs...)
	}
	manifest, err := json.Marshal([]savedImage{saved})
	if err != nil {
		t.Fatal(err)
	}
	return "docker-archive:" + write(t, path, makeTar(t, append(entries, file("config.json", config), file("manifest.json", string(manifest)))...))
}

func configWith(t testing.TB, diffIDs ...string) string {
	t.Helper()
	data, err := json.Marshal(configFile{
		Architecture: here.Architecture, OS: "linux",
		Config: configFields{Cmd: []string{"run"}}, RootFS: rootFS{Type: "layers", DiffIDs: diffIDs},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestDockerArchiveRefuses(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t)
	secret := makeTar(t, file("secret", ""))
	resolve(t, s, saveImage(t, dir+"/other.tar", "", secret))
	manifest := func(text string, more ...tarEntry) string {
		path := filepath.Join(t.TempDir(), "x.tar")
		return "docker-archive:" + write(t, path, makeTar(t, append(more, file("manifest.json", text))...))
	}
	many := make([][]byte, maxLayers+1)
	huge := `{"a":"` + strings.Repeat("x", maxConfig) + `"}`
	for name, tt := range map[string]struct{ ref, want string }{
		"another image's layer":        {saveImage(t, dir+"/none.tar", configWith(t, digestOf(secret))), "manifest.json has 0 layers, the configuration 1"},
		"a layer too many":             {saveImage(t, dir+"/more.tar", configWith(t), secret), "manifest.json has 1 layers, the configuration 0"},
		"another layer":                {saveImage(t, dir+"/evil.tar", configWith(t, digestOf(nil)), makeTar(t, file("evil", ""))), "the configuration says"},
		"too many layers":              {saveImage(t, dir+"/many.tar", "", many...), "the image has 501 layers; overlayfs takes at most 500"},
		"configuration of an odd type": {saveImage(t, dir+"/odd.tar", `{"config":{"User":7}}`), "odd.tar: image configuration: config.User has a JSON number"},
		"huge configuration":           {saveImage(t, dir+"/huge.tar", huge), "the configuration is larger than 8 MiB"},
		"huge manifest":                {manifest(huge), "the manifest is larger than 4 MiB"},
		"no images":                    {manifest(`[]`), "the archive has 0 images"},
		"null images":                  {manifest(`null`), "the archive has 0 images"},
		"two images":                   {manifest(`[{},{}]`), "the archive has 2 images"},
		"no configuration":             {manifest(`[{}]`), `no file ""`},
		"manifest of an odd type":      {manifest(`{}`), "manifest.json"},
		"links in a circle":            {manifest(`[{"Config":"a"}]`, symlink("a", "b"), symlink("b", "a")), "more than 8 links"},
		"configuration is a directory": {manifest(`[{"Config":"a"}]`, dirEntry("a", 0o755)), "not a regular file"},
		"configuration is a FIFO":      {manifest(`[{"Config":"a"}]`, node("a", tar.TypeFifo, 0, 0)), "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			image, err := s.Resolve(context.Background(), tt.ref, ResolveOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v; want an error with %q", image, err, tt.want)
			}
		})
	}
}

// Before Docker 25 a layer that two images share was a link.
func TestDockerArchiveLinks(t *testing.T) {
	layer := makeTar(t, file("one", ""))
	for _, link := range []tarEntry{symlink("b/layer.tar", "../a/layer.tar"), hardlink("b/layer.tar", "a/layer.tar")} {
		path := write(t, filepath.Join(t.TempDir(), "x.tar"), makeTar(t, file("a/layer.tar", string(layer)), link,
			file("c.json", configWith(t, digestOf(layer))),
			file("manifest.json", `[{"Config":"c.json","Layers":["b/layer.tar"]}]`)))
		if got := filesOf(t, resolve(t, newStore(t), "docker-archive:"+path)); got != "one" {
			t.Errorf("%q", got)
		}
	}
}

func TestImageWithoutLayers(t *testing.T) {
	s := newStore(t)
	image := resolve(t, s, saveImage(t, filepath.Join(t.TempDir(), "x.tar"), ""))
	if got := filesOf(t, image); got != "" || len(image.Layers) != 1 || image.Config.Cmd[0] != "run" {
		t.Errorf("%q in %q, %+v", got, image.Layers, image.Config)
	}
	info, err := os.Stat(image.Layers[0])
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// writeLayout makes an OCI layout of index.json and blobs.
func writeLayout(t testing.TB, index string, blobs ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.MkdirAll(dir+"/blobs/sha256", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write(t, dir+"/index.json", []byte(index))
	for _, blob := range blobs {
		write(t, dir+"/blobs/sha256/"+digestHex(digestOf([]byte(blob))), []byte(blob))
	}
	return dir
}

// entryFor is an index with one entry.
func entryFor(mediaType types.MediaType, blob string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, mediaType, digestOf([]byte(blob)), len(blob))
}

func TestLayoutRefuses(t *testing.T) {
	// Each index names itself. A reader that checks no digests follows it for ever.
	self := entryFor(types.OCIImageIndex, "")
	circle := writeLayout(t, self)
	write(t, circle+"/blobs/sha256/"+digestHex(digestOf(nil)), []byte(self))

	deep := `{"manifests":[]}`
	var nested []string
	for range maxIndexDepth + 1 {
		nested = append(nested, deep)
		deep = entryFor(types.OCIImageIndex, deep)
	}
	huge := `{"a":"` + strings.Repeat("x", maxConfig) + `"}`
	manifest := fmt.Sprintf(`{"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":7},"layers":[]}`,
		types.OCIManifestSchema1, types.OCIConfigJSON, digestOf([]byte(huge)))
	hugeSize := strings.Replace(manifest, `"size":7`, `"size":1000000000`, 1)
	config := configWith(t, digestOf(nil))
	undigested := fmt.Sprintf(`{"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"size":0}]}`,
		types.OCIConfigJSON, digestOf([]byte(config)), len(config), types.OCILayer)
	changed := writeLayout(t, entryFor(types.OCIManifestSchema1, manifest), manifest)
	write(t, changed+"/blobs/sha256/"+digestHex(digestOf([]byte(manifest))), []byte(manifest+" "))
	for name, tt := range map[string]struct{ dir, want string }{
		"an index that names itself":    {circle, "has the digest"},
		"indexes in indexes":            {writeLayout(t, deep, nested...), "nested more than 8 deep"},
		"huge index":                    {writeLayout(t, huge), "the index is larger than 4 MiB"},
		"huge nested index":             {writeLayout(t, entryFor(types.OCIImageIndex, huge), huge), "the index is larger than 4 MiB"},
		"huge manifest":                 {writeLayout(t, entryFor(types.OCIManifestSchema1, huge), huge), "the manifest is larger than 4 MiB"},
		"huge configuration":            {writeLayout(t, entryFor(types.OCIManifestSchema1, manifest), manifest, huge), "the configuration is larger than 8 MiB"},
		"configuration said to be huge": {writeLayout(t, entryFor(types.OCIManifestSchema1, hugeSize), hugeSize), "the configuration is larger than 8 MiB"},
		"changed manifest":              {changed, "has the digest"},
		"layer without a digest":        {writeLayout(t, entryFor(types.OCIManifestSchema1, undigested), undigested, config), "layer 1 of the manifest has no SHA-256 digest"},
		"no image":                      {writeLayout(t, `{}`), "no image for any platform"},
		"null":                          {writeLayout(t, `null`), "no image for any platform"},
		"missing blob":                  {writeLayout(t, entryFor(types.OCIManifestSchema1, "x")), "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			image, err := s.Resolve(context.Background(), "oci:"+tt.dir, ResolveOptions{KeepPacked: true})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v; want an error with %q", image, err, tt.want)
			}
			isEmpty(t, s)
		})
	}
}

func TestLayoutNested(t *testing.T) {
	dir := t.TempDir()
	path, err := layout.Write(dir, mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
			Add: testImage(t, here, "nested"), Descriptor: v1.Descriptor{Platform: &here},
		})}))
	if err != nil {
		t.Fatal(err)
	}
	if got := filesOf(t, resolve(t, newStore(t), "oci:"+string(path))); got != "nested" {
		t.Errorf("%q", got)
	}
}

// Whatever the bytes of an index and of the manifest and configuration that it
// leads to: an image or an error.
func FuzzLayout(f *testing.F) {
	config := configWith(f, digestOf(nil))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":0}]}`,
		types.OCIManifestSchema1, types.OCIConfigJSON, digestOf([]byte(config)), len(config), types.OCILayer, digestOf(nil))
	index := entryFor(types.OCIManifestSchema1, manifest)
	f.Add(index, manifest, config)
	f.Add(entryFor(types.OCIImageIndex, index), index, manifest)
	f.Add(`{"manifests":[{"digest":"sha256:","platform":null},null]}`, `{"config":null}`, `null`)
	f.Fuzz(func(t *testing.T, index, first, second string) {
		dir := writeLayout(t, index, first, second, "")
		for _, tag := range []string{"", "v1"} {
			c, err := fromLayout(dir, tag, hostPlatform())
			if err != nil {
				continue
			}
			for _, l := range c.layers {
				if stream, err := l.open(t.Context()); err == nil {
					_ = stream.Close()
				}
			}
		}
	})
}

// An index that something else wrote into the store does not make it panic.
func FuzzStoreIndex(f *testing.F) {
	digest := digestOf(nil)
	f.Add(fmt.Sprintf(`{"manifests":[{"digest":%q,"annotations":{"org.opencontainers.image.ref.name":"docker.io/library/debian"}}]}`, digest), "debian@"+digest)
	f.Add(fmt.Sprintf(`{"manifests":[{"digest":%q,"annotations":{"dev.minirun.id":"sha256:e3b0","dev.minirun.size":"-"}},null]}`, digest), "e3b0")
	s := newStore(f)
	f.Fuzz(func(t *testing.T, index, ref string) {
		write(t, s.path("index.json"), []byte(index))
		if image, err := s.Resolve(t.Context(), ref, ResolveOptions{Pull: PullNever}); err == nil {
			_ = image.Close()
		}
		_, _ = s.Images()
	})
}
