package rootfs

import (
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestParsePlatform(t *testing.T) {
	for text, want := range map[string]string{
		"":               "linux/" + runtime.GOARCH,
		"linux":          "linux/" + runtime.GOARCH,
		"linux/amd64/v1": "linux/amd64",
		"linux/amd64/v3": "linux/amd64/v3",
		"Linux/AMD64":    "linux/amd64",
		"x86_64":         "linux/amd64",
		"linux/arm64/v8": "linux/arm64",
		"aarch64":        "linux/arm64",
		"linux/arm":      "linux/arm/v7",
		"linux/arm/6":    "linux/arm/v6",
		"armel":          "linux/arm/v6",
		"i686":           "linux/386",
		"riscv64":        "linux/riscv64",
		"nosuch":         "unknown operating system or architecture",
		"linux/nosuch":   `unknown architecture "nosuch"`,
		"windows/amd64":  "minirun runs Linux containers",
		"a/b/c/d":        "not OS/ARCHITECTURE",
		"linux/":         "not OS/ARCHITECTURE",
	} {
		p, err := parsePlatform(text)
		got := p.String()
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// The best of what an index offers, as containerd's platforms.Only orders it.
func TestChoosePlatform(t *testing.T) {
	for _, c := range []struct{ offered, want, chosen string }{
		{"linux/amd64 linux/arm64", "linux/arm64", "linux/arm64"},
		{"linux/amd64/v1 linux/amd64/v2 linux/amd64/v3", "linux/amd64", "linux/amd64/v1"},
		{"linux/amd64 linux/amd64/v2 linux/amd64/v4", "linux/amd64/v3", "linux/amd64/v2"},
		{"linux/amd64", "linux/amd64/v3", "linux/amd64"},
		{"linux/arm64/v8", "linux/arm64", "linux/arm64/v8"},
		{"linux/arm/v5 linux/arm/v6", "linux/arm/v7", "linux/arm/v6"},
		{"linux/arm/v5 linux/arm/v7 linux/arm/v6", "linux/arm", "linux/arm/v7"},
		{"linux/arm/v7", "linux/arm/v6", ""},
		{"unknown/unknown linux/amd64", "linux/arm64", ""},
	} {
		var entries []v1.Descriptor
		for _, text := range strings.Fields(c.offered) {
			p, err := v1.ParsePlatform(text)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, v1.Descriptor{MediaType: types.OCIManifestSchema1, Platform: p})
		}
		want, err := parsePlatform(c.want)
		if err != nil {
			t.Fatal(err)
		}
		d, err := choosePlatform(entries, want)
		got := ""
		if err == nil {
			got = d.Platform.String()
		}
		if got != c.chosen {
			t.Errorf("of %s for %s: %q, %v; want %q", c.offered, c.want, got, err, c.chosen)
		}
	}
}

// An image for another platform is refused when a platform was asked for, and
// used with a warning when none was.
func TestOtherPlatform(t *testing.T) {
	dir := t.TempDir()
	path, err := layout.Write(dir+"/layout", empty.Index)
	if err != nil || path.AppendImage(testImage(t, there, "a")) != nil {
		t.Fatal(err)
	}
	ref := "oci:" + dir + "/layout"
	host := newRegistry(t, nil)
	push(t, host+"/tool", testImage(t, there, "a"))
	for _, ref := range []string{ref, host + "/tool"} {
		s := newStore(t)
		var warnings []string
		warn := func(text string) { warnings = append(warnings, text) }
		for range 2 { // fetched, and stored
			warnings = nil
			image, err := s.Resolve(t.Context(), ref, ResolveOptions{Warn: warn})
			if err != nil {
				t.Fatal(err)
			}
			_ = image.Close()
			if len(warnings) != 1 || !strings.Contains(warnings[0], "is for linux/riscv64, but this machine is linux/"+here.Architecture) {
				t.Errorf("%s: %q", ref, warnings)
			}
		}
		image, err := s.Resolve(t.Context(), ref, ResolveOptions{Warn: warn, Platform: "riscv64"})
		if err != nil || len(warnings) != 1 {
			t.Fatalf("%v, %q", err, warnings)
		}
		_ = image.Close()
		for _, policy := range []PullPolicy{PullMissing, PullAlways, PullNever} {
			_, err = s.Resolve(t.Context(), ref, ResolveOptions{Platform: "linux/s390x", Pull: policy})
			if err == nil || !strings.Contains(err.Error(), "the image exists for linux/riscv64, not for linux/s390x") || errors.Is(err, ErrNotFound) {
				t.Errorf("%s with --pull %s: %v", ref, policy, err)
			}
		}
	}
	s := newStore(t)
	if _, err := s.Resolve(t.Context(), "host:", ResolveOptions{Platform: "linux/s390x"}); err == nil || !strings.Contains(err.Error(), "not for linux/s390x") {
		t.Errorf("host: %v", err)
	}
	tar := write(t, filepath.Join(dir, "x.tar"), makeTar(t, file("one", "")))
	image, err := s.Resolve(t.Context(), tar, ResolveOptions{Platform: "linux/arm/v6"})
	if err != nil {
		t.Fatal(err)
	}
	_ = image.Close()
	if images, err := s.Images(); err != nil || len(images) != 1 || images[0].Platform != "linux/arm/v6" {
		t.Errorf("a tarball is what it was said to be: %+v, %v", images, err)
	}
}
