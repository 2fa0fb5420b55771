package rootfs

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/moby/go-archive"
)

// listFiles lists the files of a directory that are not directories. readdir(2) of an
// opaque directory returns whiteouts, which nothing can open.
const listFiles = `cd "$1"; find . ! -type d ! -type c -printf '%P\n' | sort | tr '\n' ' '`

// Whatever the order of a layer's entries, a whiteout hides what is below the layer, and
// nothing of the layer itself (image-spec, layer.md). go-archive, which applies a layer to
// a copy of the one below, agrees wherever whiteouts come first; later ones remove what
// the layer has, and opaque ones its directories without an entry.
func TestWhiteoutOrder(t *testing.T) {
	below := map[string]string{"a/old": "", "a/b/old": "", "f": "", "other": ""}
	wh, opaque := file(".wh.a", ""), file("a/.wh..wh..opq", "")
	for name, c := range map[string]struct {
		entries []tarEntry
		want    string // names of files that are not directories
		last    bool   // a whiteout comes last
	}{
		"nothing else":                   {[]tarEntry{wh}, "f other", false},
		"a file in it":                   {[]tarEntry{wh, file("a/b/c", "")}, "a/b/c f other", false},
		"its directory":                  {[]tarEntry{wh, dirEntry("a", 0o700), file("a/b/c", "")}, "a/b/c f other", false},
		"its directory, later":           {[]tarEntry{wh, file("a/b/c", ""), dirEntry("a", 0o700)}, "a/b/c f other", false},
		"a file of its name":             {[]tarEntry{wh, file("a", "")}, "a f other", false},
		"a link in it":                   {[]tarEntry{wh, symlink("a/l", "/x"), hardlink("a/m", "a/l")}, "a/l a/m f other", false},
		"a directory instead of a file":  {[]tarEntry{file(".wh.f", ""), file("f/x", "")}, "a/b/old a/old f/x other", false},
		"one of a directory, then all":   {[]tarEntry{file("a/.wh.old", ""), wh}, "f other", true},
		"after a file in it":             {[]tarEntry{file("a/b/c", ""), wh}, "a/b/c f other", true},
		"after its directory":            {[]tarEntry{dirEntry("a", 0o700), file("a/b/c", ""), wh, file("a/d", "")}, "a/b/c a/d f other", true},
		"after a file of its name":       {[]tarEntry{file("a", ""), wh}, "a f other", true},
		"all, then one in it":            {[]tarEntry{wh, file("a/.wh.old", "")}, "f other", false},
		"all, then an opaque directory":  {[]tarEntry{wh, opaque}, "f other", false},
		"twice":                          {[]tarEntry{wh, wh}, "f other", false},
		"an opaque directory":            {[]tarEntry{dirEntry("a", 0o755), opaque, file("a/x", "")}, "a/x f other", false},
		"an opaque directory at the end": {[]tarEntry{file("a/x", ""), file("a/b/y", ""), opaque}, "a/b/y a/x f other", true},
		"an opaque one below":            {[]tarEntry{file("a/b/y", ""), file("a/b/.wh..wh..opq", "")}, "a/b/y a/old f other", false},
		"all of a link's directory":      {[]tarEntry{symlink("l", "a"), file("l/.wh.old", "")}, "a/b/old f l other", false},
	} {
		t.Run(name, func(t *testing.T) {
			plain := makeTar(t, c.entries...)
			dir, _, err := unpackIn(t, plain)
			if err != nil {
				t.Fatal(err)
			}
			out, err := mounted(t, overlayArguments{
				Overlay: Overlay{Layers: []string{layerWith(t, t.TempDir(), below), dir}, Dir: t.TempDir()},
				Script:  listFiles,
			})
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := strings.TrimSpace(out); got != c.want {
				t.Errorf("the files are %q; want %q", got, c.want)
			}
			applied := layerWith(t, t.TempDir(), below)
			if _, err := archive.UnpackLayer(applied, bytes.NewReader(plain), nil); err != nil {
				t.Fatal(err)
			}
			listed, err := exec.Command("sh", "-ec", listFiles, "sh", applied).Output()
			if got := strings.TrimSpace(string(listed)); err != nil || got != c.want && !c.last {
				t.Errorf("go-archive's files are %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestUnpackWhiteouts(t *testing.T) {
	dir, _, err := unpackIn(t, makeTar(t,
		dirEntry("etc", 0o755), file("etc/.wh.passwd", ""),
		dirEntry("var", 0o700), file("var/.wh..wh..opq", ""), file("var/new", ""),
		file("implied/.wh.x", ""),
	))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(describe(t, dir, "?"), "\n")
	for _, want := range []string{"etc/passwd 20000 0:0", "implied/x 20000 0:0", "var 40700 0:0 1700000000 trusted.overlay.opaque=79", "var/new 100644"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, ".wh.") {
		t.Errorf("a whiteout's name is left:\n%s", got)
	}
}
