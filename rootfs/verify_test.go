package rootfs

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// Whatever part of an image changes, Verify names the image, and a pull fixes it.
func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(s *Store, image *Image, config *configFile) error
		want   string // problem; "" is none
	}{
		"nothing": {func(*Store, *Image, *configFile) error { return nil }, ""},
		"content": {func(_ *Store, i *Image, _ *configFile) error {
			return os.WriteFile(i.Layers[1]+"/b", []byte("B"), 0o644)
		}, "the layer's files have changed"},
		"mode":       {func(_ *Store, i *Image, _ *configFile) error { return os.Chmod(i.Layers[1]+"/b", 0o4755) }, "the layer's files have changed"},
		"owner":      {func(_ *Store, i *Image, _ *configFile) error { return os.Chown(i.Layers[1]+"/b", 1, 1) }, "the layer's files have changed"},
		"a new file": {func(_ *Store, i *Image, _ *configFile) error { return os.WriteFile(i.Layers[1]+"/c", nil, 0o644) }, "the layer's files have changed"},
		"a missing file": {func(_ *Store, i *Image, _ *configFile) error {
			return os.Remove(i.Layers[1] + "/b")
		}, `the layer's file "b" is missing`},
		"a missing layer": {func(_ *Store, i *Image, _ *configFile) error { return os.RemoveAll(i.Layers[1]) }, "no such file or directory"},
		"manifest": {func(s *Store, i *Image, _ *configFile) error {
			return os.WriteFile(s.blob(i.Digest), []byte("{}"), 0o600)
		}, "has the digest"},
		"no manifest": {func(s *Store, i *Image, _ *configFile) error { return os.Remove(s.blob(i.Digest)) }, "no such file or directory"},
		"configuration": {func(s *Store, i *Image, _ *configFile) error {
			m, _, err := s.readManifest(i.Digest)
			return errors.Join(err, os.Remove(s.blob(m.Config.Digest.String())))
		}, "no such file or directory"},
		"no record": {func(s *Store, i *Image, c *configFile) error {
			return os.Remove(s.layer(c.RootFS.DiffIDs[1]) + recordSuffix)
		}, ""},
		"mode without a record": {func(s *Store, i *Image, c *configFile) error {
			return errors.Join(os.Remove(s.layer(c.RootFS.DiffIDs[1])+recordSuffix), os.Chmod(i.Layers[1]+"/b", 0o4755))
		}, "the layer's files have changed"},
		"packed layer": {func(s *Store, i *Image, _ *configFile) error {
			m, _, err := s.readManifest(i.Digest)
			return errors.Join(err, os.WriteFile(s.blob(m.Layers[1].Digest.String()), []byte("x"), 0o600))
		}, "has the digest"},
	} {
		t.Run(name, func(t *testing.T) {
			host := newRegistry(t, nil)
			push(t, host+"/one", testImage(t, here, "a", "b"))
			push(t, host+"/two", testImage(t, here, "a", "z"))
			s := newStore(t)
			image := resolve(t, s, host+"/one")
			resolve(t, s, host+"/two")
			_, config, err := s.readManifest(image.Digest)
			if err == nil {
				err = c.damage(s, image, config)
			}
			if err != nil {
				t.Fatal(err)
			}
			checkVerified(t, s, c.want)
			if c.want == "" || name == "packed layer" {
				return
			}
			if _, err := s.Pull(context.Background(), host+"/one", ResolveOptions{}); err != nil {
				t.Fatal(err)
			}
			checkVerified(t, s, "")
		})
	}
}

// checkVerified checks that only the first of two images has a problem, if any.
func checkVerified(t *testing.T, s *Store, want string) {
	t.Helper()
	all, err := s.Verify(context.Background())
	if err != nil || len(all) != 2 || len(all[1].Problems) != 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	got := all[0].Problems
	if want == "" && len(got) == 0 {
		return
	}
	if len(got) != 1 || want == "" || !strings.Contains(got[0], want) {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestVerifyNamed(t *testing.T) {
	s, a, b := twoImages(t)
	all, err := s.Verify(context.Background(), b, b)
	if err != nil || len(all) != 1 || all[0].Name != b {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := s.Verify(context.Background(), a, "no-such-image"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Verify(ctx, a); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
