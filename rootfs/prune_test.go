package rootfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// du returns what GNU du counts.
func du(t *testing.T, paths ...string) int64 {
	t.Helper()
	out, err := exec.Command("du", append([]string{"-sc", "--block-size=1"}, paths...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	size, err := strconv.ParseInt(strings.Fields(lines[len(lines)-1])[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// The numbers are those of du(1).
func TestUsage(t *testing.T) {
	s, a, b := twoImages(t)
	used := resolve(t, s, a)
	other := resolve(t, s, b)
	if err := errors.Join(other.Close(), s.Tag(a, "again"), os.Link(used.Layers[1]+"/a", used.Layers[1]+"/b")); err != nil {
		t.Fatal(err)
	}
	file := func(layer string) []string { return []string{layer, layer + sizeSuffix, layer + recordSuffix} }
	shared, own, theirs := du(t, file(used.Layers[0])...), du(t, file(used.Layers[1])...), du(t, file(other.Layers[1])...)
	u, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	want := PartUsage{Type: "Images", Total: 2, Active: 1, Size: shared + own + theirs, Reclaimable: theirs}
	if u.Parts[0] != want {
		t.Errorf("%+v, want %+v", u.Parts[0], want)
	}
	for _, image := range u.Images {
		unique := own
		if image.Name == b {
			unique = theirs
		}
		if image.Shared != shared || image.Unique != unique || image.Size != shared+unique || image.Active != (image.Name != b) {
			t.Errorf("%+v, want %d and %d", image, shared, unique)
		}
	}
}

// Whatever is removed, images that are in use or do not match stay whole.
func TestPrune(t *testing.T) {
	old, recent := time.Now().Add(-48*time.Hour), time.Now()
	for name, tt := range map[string]struct {
		o    PruneOptions
		want []string // what stays, beside the image that is in use
	}{
		"without a name": {PruneOptions{}, []string{"labelled", "old", "recent"}},
		"all":            {PruneOptions{All: true}, nil},
		"old":            {PruneOptions{All: true, Until: recent.Add(-time.Hour)}, []string{"recent", "sha256"}},
		"a label":        {PruneOptions{All: true, Labels: []string{"keep"}}, []string{"old", "recent", "sha256"}},
		"its value":      {PruneOptions{All: true, Labels: []string{"keep=no"}}, []string{"labelled", "old", "recent", "sha256"}},
		"no label":       {PruneOptions{All: true, Not: []string{"keep=yes"}}, []string{"labelled"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			add := func(name string, created time.Time, changes ...string) {
				t.Helper()
				data := makeTar(t, file(name+"file", ""))
				if _, err := s.importAt(context.Background(), bytes.NewReader(data), ImportOptions{Name: name, Changes: changes}, created); err != nil {
					t.Fatal(err)
				}
			}
			add("old", old)
			add("recent", recent)
			add("labelled", old, "LABEL keep=yes")
			add("", recent)
			add("used", old)
			used := resolve(t, s, "used")
			removed, reclaimed, err := s.Prune(tt.o)
			if err != nil || removed.Kept != nil || len(removed.Untagged) != len(removed.Deleted) {
				t.Fatalf("%+v, %v", removed, err)
			}
			left := []string{}
			for _, name := range namesIn(t, s) {
				short, _, _ := strings.Cut(shortName(name), ":")
				left = append(left, short)
			}
			want := slices.Sorted(slices.Values(append([]string{"used"}, tt.want...)))
			if slices.Sort(left); !slices.Equal(left, want) {
				t.Errorf("%q stay, want %q", left, want)
			}
			if layers, _ := digestsIn(s.path("layers/sha256")); len(layers) != len(tt.want)+1 || (reclaimed > 0) != (len(tt.want) < 4) {
				t.Errorf("%d layers stay, %d bytes reclaimed", len(layers), reclaimed)
			}
			if filesOf(t, used) != "usedfile" {
				t.Error("the image that is used was removed")
			}
			if all, err := s.Verify(context.Background()); err != nil || slices.ContainsFunc(all, func(v Verification) bool { return v.Problems != nil }) {
				t.Errorf("%+v, %v", all, err)
			}
		})
	}
}

// What killed processes left goes; what living ones make stays.
func TestPruneLeftovers(t *testing.T) {
	s, a, _ := twoImages(t)
	work, err := s.newWorkDir()
	if err != nil {
		t.Fatal(err)
	}
	layer := strings.Repeat("a", 64)
	left := []string{"layers/sha256/" + layer + sizeSuffix, "layers/sha256/" + layer + recordSuffix, "tmp/dead/x", "blobs/sha256/.new-x", "blobs/sha256/" + layer, "layers/sha256/" + strings.Repeat("b", 64) + "/file"}
	for _, name := range left {
		if err := errors.Join(os.MkdirAll(filepath.Dir(s.path(name)), 0o700), os.WriteFile(s.path(name), make([]byte, 9000), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	_, reclaimed, err := s.Prune(PruneOptions{})
	if err != nil || reclaimed < int64(len(left))*9000 {
		t.Errorf("%d bytes, %v", reclaimed, err)
	}
	for _, name := range left {
		if _, err := os.Lstat(s.path(name)); !errors.Is(err, unix.ENOENT) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(work.path); err != nil {
		t.Error(err)
	}
	if err := work.remove(); err != nil || len(namesIn(t, s)) != 2 || filesOf(t, resolve(t, s, a)) != "shared a" {
		t.Errorf("%v", err)
	}
}
