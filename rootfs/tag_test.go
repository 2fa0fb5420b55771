package rootfs

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// namesIn returns the names in a store, sorted.
func namesIn(t *testing.T, s *Store) []string {
	t.Helper()
	images, err := s.Images()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, image := range images {
		names = append(names, image.Name)
	}
	return names
}

func TestTag(t *testing.T) {
	s, a, b := twoImages(t)
	image := resolve(t, s, a)
	if err := s.Tag(a, "other/tool:1"); err != nil {
		t.Fatal(err)
	}
	if again := resolve(t, s, "docker.io/other/tool:1"); again.Digest != image.Digest {
		t.Errorf("it is image %s", again.Digest)
	}
	// By the first digits of its ID, and under its own name again.
	info, err := s.Describe(a, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Tag(info.ID[len("sha256:"):][:12], "tool"), s.Tag("tool", "tool")); err != nil {
		t.Fatal(err)
	}
	if got, want := namesIn(t, s), []string{"docker.io/library/tool:latest", "docker.io/other/tool:1", a, b}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// The last name of an image goes to another one: it is removed.
	if err := s.Tag(b, "tool"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(b, false); err != nil {
		t.Fatal(err)
	}
	if got := filesOf(t, resolve(t, s, "tool")); got != "shared b" {
		t.Errorf("%q", got)
	}
	if err := s.Tag(a, "tool"); err != nil {
		t.Fatal(err)
	}
	if layers, err := digestsIn(s.path("layers/sha256")); err != nil || len(layers) != 3 {
		t.Errorf("while the image is in use: %q, %v", layers, err)
	}
}

func TestTagRefuses(t *testing.T) {
	s, a, _ := twoImages(t)
	before := namesIn(t, s)
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, tt := range []struct{ source, target, want string }{
		{"no-such-image", "x", "no such image"},
		{a, "x@" + digest, "cannot be an image's new name"},
		{a, digest, "cannot be an image's new name"},
		{a, strings.Repeat("a", 64), "cannot be an image's new name"},
		{a, "./x.tar", "cannot be an image's new name"},
		{a, "dir:/x", "cannot be an image's new name"},
		{a, "host:", "cannot be an image's new name"},
		{a, "UPPER", "a repository's name must be lowercase"},
		{a, "x:y:z", "not a name"},
		{a, "", "not a name"},
	} {
		err := s.Tag(tt.source, tt.target)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("tag %s %s: %v, want %q", tt.source, tt.target, err, tt.want)
		}
	}
	if got := namesIn(t, s); !slices.Equal(got, before) {
		t.Errorf("%q, was %q", got, before)
	}
}
