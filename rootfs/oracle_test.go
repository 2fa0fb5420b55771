package rootfs

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/go-archive"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
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

// GNU tar is the oracle for a tree with everything in it.
func TestUnpackLikeGNUTar(t *testing.T) {
	testenv.Root(t)
	source, oracle := t.TempDir(), t.TempDir()
	const tree = `set -e; umask 022; cd "$1"
mkdir -p usr/bin etc/deep/er 'sp ace' run; chmod 1777 run; chmod 0750 etc/deep; chown 7:8 etc/deep
echo ping > usr/bin/ping; setcap cap_net_raw=ep usr/bin/ping; echo su > usr/bin/su; chmod 4755 usr/bin/su
ln usr/bin/su usr/bin/su2; ln -s usr/bin bin; ln -s ../../nowhere etc/dangling; ln -s /etc/deep etc/abs
echo conf > etc/conf; chown 1000:1000 etc/conf; chmod 0600 etc/conf; 
mknod run/null c 1 3; mkfifo run/fifo; ln etc/dangling etc/dangling2
head -c 3000000 /dev/urandom > usr/big; truncate -s 1M usr/sparse; : > empty
name=$(printf 'n%.0s' $(seq 200)); mkdir $name; echo long > $name/$name
find . -exec touch -h -d '2001-02-03 04:05:06' {} +`
	const pack = `set -e; cd "$1"
tar --xattrs '--xattrs-include=*' --numeric-owner --format=pax -cf "$2/layer.tar" .
mkdir "$2/oracle"; tar --xattrs '--xattrs-include=*' --numeric-owner -p -xf "$2/layer.tar" -C "$2/oracle"`
	shell := func(script string) {
		t.Helper()
		if out, err := exec.Command("sh", "-c", script, "sh", source, oracle).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	shell(tree)
	for name, attribute := range map[string]string{"etc/conf": "user.note", "etc": "trusted.note", "run/null": "trusted.note"} {
		if err := unix.Lsetxattr(filepath.Join(source, name), attribute, []byte("hello"), 0); err != nil {
			t.Fatal(err)
		}
	}
	shell(pack)
	data, err := os.ReadFile(filepath.Join(oracle, "layer.tar"))
	if err != nil {
		t.Fatal(err)
	}
	dir, _, err := unpackIn(t, data)
	if err != nil {
		t.Fatal(err)
	}
	got, want := describe(t, dir, ""), describe(t, filepath.Join(oracle, "oracle"), "")
	if !slices.Equal(got, want) {
		t.Errorf("unpacked:\n%s\nGNU tar:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	compareWithDocker(t, data, dir)
}
