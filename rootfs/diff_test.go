package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/go-archive"

	"github.com/minirun/minirun/internal/testenv"
)

// What Diff finds in an upper directory is what go-archive finds by a comparison of the
// whole root with the layers, as dockerd does it.
func TestDiff(t *testing.T) {
	testenv.Root(t)
	lower, upper := t.TempDir(), t.TempDir()
	layerWith(t, lower, map[string]string{"a/old": "1", "a/b/c": "2", "f": "3", "gone": "4", "d/e/f": "5", "hidden/x": "6", "same": "7", "cap": "8"})
	layerWith(t, upper, map[string]string{"a/new": "1", "d/second": "2", "hidden/y": "3"})
	if out, err := exec.Command("sh", "-ec", `cd "$1"; mknod gone c 0 0; setfattr -n trusted.overlay.opaque -v y hidden`, "sh", upper).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, script := range map[string]string{
		"nothing":                    `cat f`,
		"a file":                     `echo x >n; echo y >>f; rm same`,
		"copied up":                  `: >>f; : >>a/b/c`,
		"modes and owners":           `chmod 600 f; chown 1:2 a/old; chmod 700 a/b`,
		"a time":                     `touch -d 2001-02-03 a/b/c`,
		"deep":                       `mkdir -p x/y; echo 1 >x/y/z; echo 2 >d/e/new`,
		"a directory removed":        `rm -r a d/e`,
		"a directory made again":     `rm -r a; mkdir a; echo 1 >a/b; echo 2 >a/old`,
		"a directory in the way":     `rm f; mkdir -p f/g; rm -r a; echo 1 >a`,
		"a link in the way":          `rm -r a; ln -s d a; ln same hard`,
		"moved":                      `mv a/b moved; mv same a/same`,
		"what a layer hides":         `echo 1 >gone; mkdir hidden/x; rm hidden/y`,
		"made and removed":           `echo 1 >tmp; rm tmp; mkdir -p d/t/u; rm -r d/t`,
		"a device and a pipe":        `mknod c c 1 3; mkfifo p`,
		"capabilities":               `setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 cap`,
		"a name that needs quotes":   `echo 1 >'a b'; mkdir "$(printf 'n\\nl')"`,
		"an opaque directory, again": `rm -r hidden; mkdir hidden; echo 1 >hidden/x`,
	} {
		t.Run(name, func(t *testing.T) {
			dir, merged := t.TempDir(), t.TempDir()
			overlay := Overlay{Layers: []string{lower, upper}, Dir: dir}
			copied := func(script, to string) {
				out, err := mounted(t, overlayArguments{Overlay: overlay, Script: `cd "$1"; ` + script + `; cp -a . '` + to + `'`})
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			before, after := filepath.Join(merged, "before"), filepath.Join(merged, "after")
			copied(":", before)
			if err := os.RemoveAll(filepath.Join(dir, "work")); err != nil {
				t.Fatal(err)
			}
			copied(script, after)
			changes, err := overlay.Diff(nil)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := archive.ChangesDirs(after, before)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, c := range changes {
				got = append(got, string(c.Kind)+" "+c.Path)
			}
			for _, c := range theirs {
				want = append(want, strings.Trim(c.String(), "\n"))
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("go-archive -, Diff +:\n%s", diff)
			}
		})
	}
}

// What is aside is not looked into, and not mentioned if it is new.
func TestDiffAside(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	overlay := Overlay{Layers: []string{layerWith(t, t.TempDir(), map[string]string{"vol/x": "1"})}, Dir: dir}
	if out, err := mounted(t, overlayArguments{Overlay: overlay, Script: `cd "$1"; echo 1 >vol/x; mkdir -p proc; echo 2 >proc/y; echo 3 >z`}); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	changes, err := overlay.Diff([]string{"/vol", "/proc"})
	if want := []Change{{Added, "/z"}}; err != nil || !cmp.Equal(changes, want) {
		t.Errorf("%v, %v; want %v", changes, err, want)
	}
}
