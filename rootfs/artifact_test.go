package rootfs

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/minirun/minirun/internal/hint"
)

// What is not a container image is refused as what it is.
func TestPullArtifact(t *testing.T) {
	host := newRegistry(t, nil)
	with := func(image v1.Image, kind types.MediaType) v1.Image {
		changed, err := mutate.AppendLayers(image, static.NewLayer([]byte("content"), kind))
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	for name, tt := range map[string]struct {
		image      v1.Image
		want, hint string
	}{
		"chart":     {with(mutate.ConfigMediaType(empty.Image, "application/vnd.cncf.helm.config.v1+json"), "application/vnd.cncf.helm.chart.content.v1.tar+gzip"), `an artifact of the type "application/vnd.cncf.helm.config.v1+json"`, ""},
		"plugin":    {mutate.ConfigMediaType(testImage(t, here, "a"), "application/vnd.docker.plugin.v1+json"), `an artifact of the type "application/vnd.docker.plugin.v1+json"`, ""},
		"signature": {with(empty.Image, "application/vnd.dev.cosign.simplesigning.v1+json"), `an artifact of the type "application/vnd.dev.cosign.simplesigning.v1+json"`, ""},
		"wasm":      {with(empty.Image, "application/wasm"), `an artifact of the type "application/wasm"`, ""},
		"encrypted": {with(empty.Image, types.OCILayer+"+encrypted"), "the image is encrypted", "--decryption-key"},
	} {
		push(t, host+"/"+name, tt.image)
		s := newStore(t)
		_, err := s.Pull(context.Background(), host+"/"+name, ResolveOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(hint.Text(err), tt.hint) {
			t.Errorf("%s: %v, hint %q; want %q", name, err, hint.Text(err), tt.want)
		}
		isEmpty(t, s)
	}
}

// What dockerd pulls too is pulled, although it looks odd; an image for Windows is not.
func TestPullOdd(t *testing.T) {
	host := newRegistry(t, nil)
	image := testImage(t, here, "a")
	push(t, host+"/octets", mutate.ConfigMediaType(image, "application/octet-stream"))
	push(t, host+"/windows", testImage(t, v1.Platform{OS: "windows", Architecture: here.Architecture}, "a"))
	attested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add:        testImage(t, here, "statement"),
		Descriptor: v1.Descriptor{Annotations: map[string]string{annotationKind: attestation}},
	}, mutate.IndexAddendum{Add: image})
	parsed, err := name.ParseReference(host + "/attested")
	if err == nil {
		err = remote.WriteIndex(parsed, attested)
	}
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"octets": "a", "attested": "a", "windows": `the image is for "windows", and minirun runs Linux containers`} {
		image, err := newStore(t).Resolve(t.Context(), host+"/"+ref, ResolveOptions{})
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && filesOf(t, image) != want {
			t.Errorf("%s: %v, %v; want %s", ref, image, err, want)
		}
	}
}

// An attribute that the file system does not have is left out, with a warning.
func TestPullUnsupportedAttribute(t *testing.T) {
	ref := write(t, t.TempDir()+"/x.tar", makeTar(t, file("a", "").xattr("system.nonsense", "x"), file("b", "").xattr("system.nonsense", "x")))
	var warnings []string
	_, err := newStore(t).Pull(t.Context(), ref, ResolveOptions{Warn: func(text string) { warnings = append(warnings, text) }})
	if err != nil || len(warnings) != 1 || !strings.HasSuffix(warnings[0], `: the extended attribute "system.nonsense" is not supported here and left out`) {
		t.Errorf("%v, warnings %q", err, warnings)
	}
}

// A zstd:chunked layer is a zstd stream: several frames, and one to skip at the end,
// which lists the files (containers/storage, docs/containers-storage-zstd-chunked.md).
func TestPullChunked(t *testing.T) {
	data := makeTar(t, file("one", strings.Repeat("1", 5000)), file("two", "2"))
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var chunked []byte
	for _, part := range [][]byte{data[:512], data[512:6144], data[6144:]} {
		chunked = encoder.EncodeAll(part, chunked)
	}
	skipped := []byte("not for readers of zstd")
	chunked = append(chunked, 0x50, 0x2a, 0x4d, 0x18, byte(len(skipped)), 0, 0, 0)
	chunked = append(chunked, skipped...)
	dir, got, err := unpackIn(t, chunked)
	if err != nil || got.diffID != digestOf(data) || got.digest != digestOf(chunked) {
		t.Errorf("%+v, %v", got, err)
	}
	if same, _, err := unpackIn(t, data); err != nil || !slices.Equal(describe(t, dir, "?"), describe(t, same, "?")) {
		t.Errorf("not the same files: %v", err)
	}
}
