package rootfs

import (
	"bytes"
	"context"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
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
	if same, _, err := unpackIn(t, data); err != nil || !bytes.Equal([]byte(strings.Join(describe(t, dir, ""), "\n")), []byte(strings.Join(describe(t, same, ""), "\n"))) {
		t.Errorf("not the same files: %v", err)
	}
}
