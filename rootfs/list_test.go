package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// makeLayer fills a directory: "NAME/" is a directory, "NAME=TEXT" a file,
// "NAME->TARGET" a link, "-NAME" a whiteout, and "NAME/!" an opaque directory.
func makeLayer(t *testing.T, entries ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, entry := range entries {
		name, text, isFile := strings.Cut(entry, "=")
		link, target, isLink := strings.Cut(entry, "->")
		opaque, isOpaque := strings.CutSuffix(entry, "/!")
		whiteout, isWhiteout := strings.CutPrefix(entry, "-")
		var err error
		switch {
		case isWhiteout:
			err = unix.Mknod(filepath.Join(dir, whiteout), unix.S_IFCHR, 0)
		case isOpaque:
			if err = os.MkdirAll(filepath.Join(dir, opaque), 0o755); err == nil {
				err = unix.Setxattr(filepath.Join(dir, opaque), "trusted.overlay.opaque", []byte("y"), 0)
			}
		case isLink:
			err = os.Symlink(target, filepath.Join(dir, link))
		case isFile:
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755)
		default:
			err = os.MkdirAll(filepath.Join(dir, entry), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func layersOfList(t *testing.T) []string {
	t.Helper()
	return []string{
		makeLayer(t, "usr/bin/", "usr/bin/sh=", "usr/bin/ls=", "bin->usr/bin", "etc/", "etc/passwd=", "gone/", "gone/x=",
			"old/", "old/a=", "old/b/", "old/b/c=", "file=", "was/", "was/in=", "out->../../../../etc", "loop->loop", "dangling->/nowhere"),
		makeLayer(t, "usr/bin/", "usr/bin/bash=", "-usr/bin/ls", "-gone", "old/!", "old/new=", "file/", "file/now=", "was=", "abs->/usr"),
		makeLayer(t, "usr/bin/", "usr/bin/top->bash", "gone/", "gone/again=", "old/b/", "old/b/d=", "etc->usr"),
	}
}

// The merged tree is that of the kernel's overlayfs.
func TestListIsOverlay(t *testing.T) {
	testenv.Root(t)
	layers := layersOfList(t)
	want, err := mounted(t, overlayArguments{
		Overlay: Overlay{Layers: layers, Dir: t.TempDir()},
		Script:  `cd "$1" && find . -mindepth 1 -printf '%P %y\n'`,
	})
	if err != nil {
		t.Fatal(err, want)
	}
	v, err := openView(layers)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	var got []string
	var visit func(dir string)
	visit = func(dir string) {
		n, err := v.walk(dir)
		if err != nil {
			t.Fatal(err)
		}
		modes, err := n.names("")
		if err != nil {
			t.Fatal(err)
		}
		for name, mode := range modes {
			kind := "f"
			switch {
			case mode.IsDir():
				kind = "d"
				visit(path.Join(dir, name))
			case mode&fs.ModeSymlink != 0:
				kind = "l"
			}
			got = append(got, path.Join(dir, name)+" "+kind)
		}
	}
	visit("")
	slices.Sort(got)
	lines := strings.Split(strings.TrimSpace(want), "\n")
	slices.Sort(lines)
	if diff := cmp.Diff(lines, got); diff != "" {
		t.Error(diff)
	}
}

func TestList(t *testing.T) {
	testenv.Root(t) // whiteouts are devices
	image := &Image{Layers: layersOfList(t)}
	for _, test := range []struct{ dir, prefix, want string }{
		{"/bin", "", "bash f, sh f, top f"},
		{"/usr/bin", "b", "bash f"},
		{"/", "e", "etc d"},
		{"etc", "", "bin d"},
		{"abs/bin/..", "", "bin d"},
		{"/", "a", "abs d"},
		{"/", "d", "dangling L"},
		{"/", "loop", "loop L"},
		{"/old/b", "", "d f"},
		{"out", "", "bin d"},
		{"../../old", "", "b d, new f"},
		{"/gone", "", "again f"},
		{"/old", "x", ""},
	} {
		entries, err := image.List(test.dir, test.prefix)
		if err != nil {
			t.Errorf("%s: %v", test.dir, err)
		}
		var got []string
		for _, e := range entries {
			kind := "f"
			if e.Mode.IsDir() {
				kind = "d"
			} else if e.Mode&fs.ModeSymlink != 0 {
				kind = "L"
			}
			got = append(got, fmt.Sprint(e.Name, " ", kind))
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%s %s*: got %q, want %q", test.dir, test.prefix, got, test.want)
		}
	}
	for dir, want := range map[string]error{"/nowhere": fs.ErrNotExist, "/was": syscall.ENOTDIR, "/was/x": fs.ErrNotExist, "/loop": syscall.ELOOP, "/old/a": fs.ErrNotExist} {
		if _, err := image.List(dir, ""); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", dir, err, want)
		}
	}
}

// What a container has put in the place of a directory is not waited for.
func TestReadDirOfFIFO(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "d"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	d := layerDir{root, "d"}
	if _, err := d.readDir(); !errors.Is(err, unix.ENOTDIR) || d.opaque() {
		t.Errorf("%v", err)
	}
}
