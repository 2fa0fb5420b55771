package rootfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A tarball that was unpacked once is not unpacked again, whatever its name and
// time; one that has changed is.
func TestReuse(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	path := write(t, filepath.Join(dir, "x.tar"), makeTar(t, file("one", "1")))
	var statuses []string
	run := func(path string, o ResolveOptions) string {
		t.Helper()
		statuses = nil
		o.Progress = func(e Event) { statuses = append(statuses, e.Status) }
		image, err := s.Resolve(t.Context(), path, o)
		if err != nil {
			t.Fatal(err)
		}
		defer image.Close()
		if image.Name != path {
			t.Errorf("the image of %s is called %s", path, image.Name)
		}
		return filesOf(t, image)
	}
	check := func(what, files, want string, unpacked bool) {
		t.Helper()
		if files != want {
			t.Errorf("%s: %q, want %q", what, files, want)
		}
		if slices.Contains(statuses, "unpacking") != unpacked {
			t.Errorf("%s: unpacked is not %v: %q", what, unpacked, statuses)
		}
	}
	check("the first time", run(path, ResolveOptions{}), "one", true)
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	check("touched", run(path, ResolveOptions{}), "one", false)
	check("known", run(path, ResolveOptions{}), "one", false)
	check("pulled", run(path, ResolveOptions{Pull: PullAlways}), "one", false)
	other := write(t, filepath.Join(dir, "y.tar"), makeTar(t, file("one", "1")))
	check("another name", run(other, ResolveOptions{}), "one", false)
	check("another platform", run(other, ResolveOptions{Platform: "linux/s390x"}), "one", true)
	write(t, path, makeTar(t, file("two", "1")))
	check("another content of the same size", run(path, ResolveOptions{}), "two", true)

	image := resolve(t, s, path)
	_ = image.Close()
	if err := os.Remove(image.Layers[0] + "/two"); err != nil {
		t.Fatal(err)
	}
	check("emptied", run(path, ResolveOptions{Pull: PullAlways}), "two", true)
	for _, path := range []string{path, other} {
		if _, err := s.Remove(path, false); err != nil {
			t.Error(err)
		}
	}
	isEmpty(t, s)
}
