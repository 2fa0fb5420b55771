package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/minirun/minirun/internal/testenv"
)

func TestOverlaySize(t *testing.T) {
	dir, layer := t.TempDir(), filepath.Join(t.TempDir(), "layer")
	o := Overlay{Dir: dir, Layers: []string{layer, "/usr"}}
	if changed, all, err := o.Size(nil); changed != 0 || all != 0 || err != nil { // it has never been mounted
		t.Errorf("%d, %d, %v", changed, all, err)
	}
	file := func(name, text string) error {
		return os.WriteFile(filepath.Join(dir, "upper", name), []byte(text), 0o600)
	}
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "upper/d/volume"), 0o700), file("a", "12"), file("d/b", "345"), file("d/volume/c", "6789"),
		os.Link(filepath.Join(dir, "upper/a"), filepath.Join(dir, "upper/d/a2")), os.Symlink("name", filepath.Join(dir, "upper/l")),
		os.Mkdir(layer, 0o700), noteLayer(layer, 1000),
	); err != nil {
		t.Fatal(err)
	}
	const files, link, volume = 5, 4, 4
	for _, aside := range [][]string{nil, {"/d/volume"}} {
		want := int64(files + link + volume)
		if aside != nil {
			want -= volume
		}
		if changed, all, err := o.Size(aside); changed != want || all != want+1000 || err != nil {
			t.Errorf("without %q: %d, %d, %v; want %d", aside, changed, all, err, want)
		}
	}
}

// A running container may put a link in the place of a directory that is just being read.
func TestOverlaySizeStays(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "large"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Overlay{Dir: t.TempDir()}
	dir, link := filepath.Join(o.Dir, "upper", "d"), filepath.Join(o.Dir, "upper", "link")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Symlink(outside, link)); err != nil {
		t.Fatal(err)
	}
	defer testenv.Exchange(dir, link)()
	for range 3000 {
		if changed, _, _ := o.Size(nil); changed >= 1<<20 {
			t.Errorf("%d: files outside are counted", changed)
			break
		}
	}
}
