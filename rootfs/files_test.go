package rootfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The layer of empty files is below the image's, is made once, and has modes that do not
// depend on the umask.
func TestWithFiles(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	root := t.TempDir()
	lock, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	image := &Image{Layers: []string{"low", "high"}, lock: lock}
	layers := image.WithFiles(root, "/etc/hosts", "/etc/hostname", "/run/.mark")
	if len(layers) != 3 || !slices.Equal(layers[1:], image.Layers) || filepath.Dir(layers[0]) != root {
		t.Fatalf("the layers are %q", layers)
	}
	var got []string
	err = fs.WalkDir(os.DirFS(layers[0]), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if path != "." {
			got = append(got, info.Mode().String()+" "+path)
		}
		return err
	})
	want := []string{"drwxr-xr-x etc", "-rw-r--r-- etc/hostname", "-rw-r--r-- etc/hosts", "drwxr-xr-x run", "-rw-r--r-- run/.mark"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("in the layer are %q, want %q; %v", got, want, err)
	}
	before, err := os.Stat(layers[0])
	if err != nil {
		t.Fatal(err)
	}
	again := image.WithFiles(root, "/etc/hosts", "/etc/hostname", "/run/.mark")
	if after, err := os.Stat(again[0]); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was made again: %q, %v", again, err)
	}
	if other := image.WithFiles(root, "/etc/hosts"); other[0] == layers[0] {
		t.Errorf("other files are in the same layer %q", other[0])
	}
	if left, err := os.ReadDir(filepath.Join(root, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}

func TestWithFilesNone(t *testing.T) {
	root := t.TempDir()
	lock, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for name, test := range map[string]struct {
		image *Image
		root  string
	}{
		"not of the store":     {&Image{Layers: []string{"one"}}, root},
		"too many layers":      {&Image{Layers: strings.Split(strings.Repeat("layer ", maxLayers-1)+"layer", " "), lock: lock}, root},
		"it cannot be made":    {&Image{Layers: []string{"one"}, lock: lock}, "/dev/null"},
		"there is no such dir": {&Image{Layers: []string{"one"}, lock: lock}, "/proc/nosuch"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.image.WithFiles(test.root, "/etc/hosts"); !slices.Equal(got, test.image.Layers) {
				t.Errorf("the layers are %q", got)
			}
		})
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
