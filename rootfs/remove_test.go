package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// twoImages makes a store with two images that share a layer.
func twoImages(t *testing.T) (s *Store, a, b string) {
	t.Helper()
	s = newStore(t)
	dir := t.TempDir()
	for _, image := range []string{"a", "b"} {
		path, err := layout.Write(filepath.Join(dir, image), empty.Index)
		if err != nil || path.AppendImage(testImage(t, here, "shared", image)) != nil {
			t.Fatal(err)
		}
	}
	a, b = "oci:"+dir+"/a", "oci:"+dir+"/b"
	for _, ref := range []string{a, b} {
		image := resolve(t, s, ref)
		_ = image.Close()
	}
	return s, a, b
}

func sameNames(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestRemoveByID(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	data := makeTar(t, file("one", ""))
	one, two := write(t, dir+"/one.tar", data), write(t, dir+"/two.tar", data)
	for _, path := range []string{one, two} {
		image := resolve(t, s, path)
		_ = image.Close()
	}
	images, err := s.Images()
	if err != nil || len(images) != 2 || images[0].ID != images[1].ID {
		t.Fatalf("%v, %v", images, err)
	}
	id := images[0].ID
	if _, err := s.Remove(id[7:19], false); err == nil || !hasCause(err, CauseManyRepositories) || !strings.Contains(err.Error(), one+", "+two) {
		t.Errorf("names of two repositories: %v", err)
	}
	removed, err := s.Remove(one, false)
	if err != nil {
		t.Fatal(err)
	}
	sameNames(t, "untagged", removed.Untagged, one)
	sameNames(t, "deleted while it has a name", removed.Deleted)
	image := resolve(t, s, one)
	_ = image.Close()
	if removed, err = s.Remove(id[7:10], true); err != nil {
		t.Fatal(err)
	}
	slices.Sort(removed.Untagged)
	sameNames(t, "untagged by ID", removed.Untagged, one, two)
	sameNames(t, "deleted by ID", removed.Deleted, id)
	isEmpty(t, s)
}

func TestAmbiguousID(t *testing.T) {
	x := index{}
	for _, c := range []string{"1", "2"} {
		x.Manifests = append(x.Manifests, descriptor{v1.Descriptor{Digest: hashOf(someDigest), Annotations: map[string]string{
			annotationName: "/" + c, annotationID: "sha256:abc" + c + someDigest[11:],
		}}})
	}
	for text, want := range map[string]string{"abc1": "/1", "abc2": "/2", "abc": "several", "abd": ""} {
		r, err := parseReference(text, pathExists)
		if err != nil {
			t.Fatal(err)
		}
		found, err := x.named(r)
		got := ""
		if len(found) == 1 {
			got = found[0].name()
		}
		if err != nil {
			got = err.Error()
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// An image that cannot be read, because descriptors have run out, is not garbage.
func TestCollectFewDescriptors(t *testing.T) {
	failed := 0
	const most = 6
	for spare := range most {
		s, a, b := twoImages(t)
		if out, err := childCommand(t, "collect", collectArguments{s.root, a, spare}).CombinedOutput(); err != nil {
			failed++
			if strings.Contains(string(out), ErrDamaged.Error()) || !strings.Contains(string(out), "too many open files") {
				t.Errorf("%d descriptors: %s", spare, out)
			}
		}
		if got := filesOf(t, resolve(t, s, b)); got != "shared b" {
			t.Errorf("%d descriptors: the other image has %q", spare, got)
		}
	}
	if failed == 0 || failed == most {
		t.Errorf("%d of %d collections failed: the limits are not those that matter", failed, most)
	}
}

type collectArguments struct {
	Root, Gone string
	Spare      int // how many more files can be opened
}

func collectChild() error {
	var a collectArguments
	if err := json.NewDecoder(os.Stdin).Decode(&a); err != nil {
		return err
	}
	s, err := OpenStore(a.Root)
	if err != nil {
		return err
	}
	x, err := s.readIndex()
	if err != nil {
		return err
	}
	x.Manifests = slices.DeleteFunc(x.Manifests, func(d descriptor) bool { return d.name() == a.Gone })
	limit := unix.Rlimit{Cur: 64, Max: 64}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	var all []int
	for err == nil {
		var fd int
		if fd, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			all = append(all, fd)
		}
	}
	for _, fd := range all[:a.Spare] {
		_ = unix.Close(fd)
	}
	return s.collect(x)
}

// The image of a running container stays whole when its name is removed. If its manifest
// cannot be read, nothing is removed.
func TestRemoveBesideDamage(t *testing.T) {
	s, a, b := twoImages(t)
	image := resolve(t, s, b)
	_ = image.Close()
	if err := os.WriteFile(s.blob(image.Digest), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	images, err := s.Images()
	if err != nil || len(images) != 2 || images[0].Problem != "" || !strings.Contains(images[1].Problem, ErrDamaged.Error()) {
		t.Errorf("images: %+v, %v", images, err)
	}
	var known *Error
	if _, err := s.Resolve(t.Context(), b, ResolveOptions{}); !errors.Is(err, ErrDamaged) || !errors.As(err, &known) || known.Cause != CauseDamaged || known.Name != b {
		t.Errorf("the damaged image: %v", err)
	}
	removed, err := s.Remove(a, false)
	if err != nil || removed.Kept == nil || !strings.Contains(removed.Kept.Error(), b) {
		t.Fatalf("%+v, %v", removed, err)
	}
	if layers, _ := digestsIn(s.path("layers/sha256")); len(layers) != 3 {
		t.Errorf("layers: %v", layers)
	}
	if _, err := s.Pull(t.Context(), b, ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	mended, err := s.Resolve(t.Context(), b, ResolveOptions{})
	if err != nil || filesOf(t, mended) != "shared b" {
		t.Errorf("mended: %+v, %v", mended, err)
	}
	_ = mended.Close()
	if removed, err := s.Remove(b, false); err != nil || removed.Kept != nil {
		t.Errorf("%+v, %v", removed, err)
	}
	isEmpty(t, s)
}

// A pull repairs a layer, whatever is missing of it.
func TestPullMendsLayers(t *testing.T) {
	for what, damage := range map[string]func(layer string) error{
		"emptied":      func(layer string) error { return os.Remove(layer + "/shared") },
		"removed":      os.RemoveAll,
		"cut":          func(layer string) error { return os.Truncate(layer+"/shared", 1) },
		"another file": func(layer string) error { return os.WriteFile(layer+"/more", nil, 0o600) },
		"another mode": func(layer string) error { return os.Chmod(layer+"/shared", 0o4755) },
		"no note, as in an older store": func(layer string) error {
			return errors.Join(os.WriteFile(layer+sizeSuffix, []byte("20480"), 0o600), os.Remove(layer+"/shared"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			s, a, _ := twoImages(t)
			image := resolve(t, s, a)
			if err := damage(image.Layers[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Pull(t.Context(), a, ResolveOptions{}); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(image.Layers[0])
			info, _ := os.Stat(image.Layers[0] + "/shared")
			if err != nil || len(entries) != 1 || info == nil || info.Size() != 6 || info.Mode() != 0o644 {
				t.Errorf("%v, %v, %v", entries, info, err)
			}
			if left, _ := os.ReadDir(s.path("tmp")); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// A layer may be as deep as a disk holds, and a removal takes it away.
func TestRemoveDeepLayer(t *testing.T) {
	s := newStore(t)
	image := resolve(t, s, write(t, filepath.Join(t.TempDir(), "x.tar"), makeTar(t, file("one", ""))))
	_ = image.Close()
	fd, err := unix.Open(image.Layers[0], unix.O_PATH, 0)
	for range 3000 { // a path longer than PATH_MAX
		if err != nil {
			t.Fatal(err)
		}
		var next int
		if err = unix.Mkdirat(fd, "d", 0o700); err == nil {
			next, err = unix.Openat(fd, "d", unix.O_PATH, 0)
		}
		_ = unix.Close(fd)
		fd = next
	}
	_ = unix.Close(fd)
	removed, err := s.Remove(image.Name, false)
	if err != nil || removed.Kept != nil {
		t.Errorf("%+v, %v", removed, err)
	}
	isEmpty(t, s)
}

// Removal needs no space on a disk that has none.
func TestRemoveFullDisk(t *testing.T) {
	testenv.Root(t)
	tar := write(t, filepath.Join(t.TempDir(), "x.tar"), makeTar(t, file("one", strings.Repeat("x", 1<<20))))
	command := childCommand(t, "full disk", [2]string{t.TempDir(), tar})
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func fullDiskChild() error {
	var a [2]string
	if err := json.NewDecoder(os.Stdin).Decode(&a); err != nil {
		return err
	}
	disk, tar := a[0], a[1]
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=512m"); err != nil {
		return err
	}
	s, err := OpenStore(disk + "/store")
	if err != nil {
		return err
	}
	image, err := s.Resolve(context.Background(), tar, ResolveOptions{})
	if err != nil {
		return err
	}
	_ = image.Close()
	return fillAndRemove(s, disk, tar)
}

func fillAndRemove(s *Store, disk, tar string) error {
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "size=4m"); err != nil {
		return err
	}
	f, err := os.Create(disk + "/filler")
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !isFull(err) {
		return err
	}
	removed, err := s.Remove(tar, false)
	if err != nil || removed.Kept != nil || len(removed.Deleted) != 1 {
		return fmt.Errorf("%+v: %w", removed, err)
	}
	images, err := s.Images()
	if layers, _ := digestsIn(s.path("layers/sha256")); err != nil || len(images) != 0 || len(layers) != 0 {
		return fmt.Errorf("left: %v, %v: %w", images, layers, err)
	}
	return nil
}

func hasCause(err error, cause Cause) bool {
	var e *Error
	for errors.As(err, &e) && e.Cause != cause {
		err, e = e.Err, nil
	}
	return e != nil
}
