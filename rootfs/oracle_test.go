package rootfs

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/go-archive"
)

// unpackAsDocker unpacks a tar with moby's go-archive, which is dockerd's.
func unpackAsDocker(t testing.TB, plain []byte) (string, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "oracle")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	return dir, archive.Unpack(bytes.NewReader(plain), dir, &archive.TarOptions{WhiteoutFormat: archive.OverlayWhiteoutFormat})
}

// compareWithDocker fails the test if go-archive unpacks something else. The entry of the
// root directory is not compared: go-archive ignores it. If there are whiteouts, opaque
// marks are not compared either: go-archive does not mark a directory that replaces a
// whiteout.
func compareWithDocker(t testing.TB, plain []byte, dir string) {
	t.Helper()
	oracle, err := unpackAsDocker(t, plain)
	if err != nil {
		return // it refuses what GNU tar takes, for example a file in what was a file
	}
	got, want := describeAnyTime(t, dir), describeAnyTime(t, oracle)
	if strings.Contains(strings.ReplaceAll(string(plain), opaqueWhiteout, ""), whiteoutPrefix) {
		for _, lines := range [][]string{got, want} {
			for i := range lines {
				lines[i] = strings.Replace(lines[i], " trusted.overlay.opaque=79", "", 1)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("unpacked:\n%s\nby go-archive:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// describeAnyTime describes what is in a tree, without the times that no entry has
// given: those of implied directories, and in go-archive of whiteouts.
func describeAnyTime(t testing.TB, dir string) []string {
	t.Helper()
	lines := describe(t, dir, "")[1:]
	now := time.Now()
	for i, line := range lines {
		lines[i] = timeField.ReplaceAllStringFunc(line, func(field string) string {
			seconds, _ := strconv.ParseInt(field[1:], 10, 64)
			if now.Sub(time.Unix(seconds, 0)).Abs() < time.Hour {
				return " now"
			}
			return field
		})
		lines[i] = strings.Replace(lines[i], " 20000 0:0 1700000000 0:0", " 20000 0:0 now 0:0", 1)
	}
	return lines
}

var timeField = regexp.MustCompile(` \d{10}\b`)

func TestUnpackLikeDocker(t *testing.T) {
	early, late := file("early", ""), file("late", "")
	early.header.ModTime, late.header.ModTime = someTime.AddDate(-60, 0, 0), someTime.AddDate(300, 0, 0)
	early.header.Format, late.header.Format = tar.FormatPAX, tar.FormatPAX
	late.header.Uid, late.header.Gid = 5, 6
	capable := file("capable", "x").xattr("security.capability", pingCapability)
	capable.header.Mode, capable.header.Uid = 0o755, 7
	second := hardlink("second", "capable").xattr("security.capability", pingCapability)
	second.header.Mode, second.header.Uid = 0o755, 8
	setgid := dirEntry("setgid", 0o2775)
	setgid.header.Gid = 99
	for name, entries := range map[string][]tarEntry{
		"times":                         {early, late},
		"a directory twice":             {dirEntry("d", 0o700), file("d/x", ""), dirEntry("d", 0o1777)},
		"a file by a directory":         {file("a", "x"), dirEntry("a", 0o755), file("a/b", "")},
		"a directory by a file":         {dirEntry("a", 0o755), file("a/b/c", ""), file("a", "x")},
		"a directory by a link":         {dirEntry("a/b", 0o755), dirEntry("c", 0o700), symlink("a/b", "../c"), file("a/b/x", "")},
		"a link by a directory":         {dirEntry("c", 0o700), symlink("a", "c"), dirEntry("a", 0o755), file("a/x", "")},
		"a file by a hard link":         {file("a", "1"), file("b", "2"), hardlink("a", "b"), file("c", "3")},
		"a hard link by a file":         {file("a", "1"), hardlink("b", "a"), file("b", "2")},
		"a hard link to a link":         {symlink("a", "x"), hardlink("b", "a")},
		"capabilities of two names":     {capable, second},
		"files in a set-group-ID one":   {setgid, file("setgid/x", ""), dirEntry("setgid/d", 0o755), node("setgid/p", tar.TypeFifo, 0, 0)},
		"links with absolute targets":   {dirEntry("usr/bin", 0o755), symlink("bin", "/usr/bin"), file("bin/x", ""), hardlink("y", "bin/x"), dirEntry("bin/d", 0o700)},
		"links to links":                {symlink("a", "b"), symlink("b", "/c"), dirEntry("c", 0o700), file("a/x", ""), symlink("c/d", "../a"), file("c/d/y", "")},
		"a link to what does not exist": {symlink("a", "/b/c"), file("a/x", "")},
		"whiteouts":                     {dirEntry("d", 0o755), file("d/.wh.x", ""), file("d/.wh..wh..opq", ""), file("d/.wh..wh.y", ""), file(".wh.z", "")},
		"devices":                       {node("c", tar.TypeChar, 1, 3), node("b", tar.TypeBlock, 7, 1<<20-1), node("p", tar.TypeFifo, 0, 0)},
		"set-user-ID":                   {owner(4, 5, 0o6755), owner(0, 0, 0o4755), owner(9, 0, 0o2644)},
	} {
		t.Run(name, func(t *testing.T) {
			plain := makeTar(t, entries...)
			dir, _, err := unpackIn(t, plain)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := unpackAsDocker(t, plain); err != nil {
				t.Fatal(err)
			}
			compareWithDocker(t, plain, dir)
		})
	}
}

// owner is a file with an owner and a mode.
func owner(uid, gid int, mode int64) tarEntry {
	e := owned(uid, gid)
	e.header.Name, e.header.Mode = strings.Repeat("o", uid+1), mode
	return e
}
