package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pingCapability is security.capability as `setcap cap_net_raw=ep` writes it
// (struct vfs_cap_data, revision 2).
const pingCapability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		os.Exit(runChild(name))
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of rootfs unpack as root and mount: run them as root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var someTime = time.Unix(1700000000, 0)

// entry makes a header; the kind is what the name and link say.
func file(name, content string) tarEntry {
	return tarEntry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: someTime}, content}
}

func folder(name string, mode int64) tarEntry {
	return tarEntry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: someTime}, ""}
}

func symlink(name, target string) tarEntry {
	return tarEntry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, ModTime: someTime}, ""}
}

func hardlink(name, target string) tarEntry {
	return tarEntry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: someTime}, ""}
}

func node(name string, kind byte, major, minor int64) tarEntry {
	return tarEntry{tar.Header{Typeflag: kind, Name: name, Mode: 0o600, Devmajor: major, Devminor: minor, ModTime: someTime}, ""}
}

type tarEntry struct {
	header  tar.Header
	content string
}

func (e tarEntry) xattr(name, value string) tarEntry {
	e.header.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	e.header.Format = tar.FormatPAX
	return e
}

func makeTar(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpackIn unpacks into a folder with a neighbour, and fails the test when
// anything but the folder changed.
func unpackIn(t testing.TB, data []byte) (string, unpacked, error) {
	t.Helper()
	parent := t.TempDir()
	dir := filepath.Join(parent, "layer")
	for path, content := range map[string]string{"neighbour/passwd": "host", "passwd": "host"} {
		path = filepath.Join(parent, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	before := describe(t, parent, "layer")
	got, err := unpackLayer(context.Background(), bytes.NewReader(data), dir)
	if after := describe(t, parent, "layer"); !slices.Equal(before, after) {
		t.Errorf("unpacking changed what is outside:\n%s\nwas\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	return dir, got, err
}

// describe lists a tree: mode, owner, link count, time, target, content and
// extended attributes of each file. It leaves out one name at its top.
func describe(t testing.TB, dir, without string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name == without {
			return filepath.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s %o %d:%d", name, st.Mode, st.Uid, st.Gid)
		if name != "." || without == "" {
			line += fmt.Sprintf(" %d", st.Mtim.Sec)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" links=%d %x", st.Nlink, sha256.Sum256(data))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		lines = append(lines, line+xattrsOf(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func xattrsOf(t testing.TB, path string) string {
	t.Helper()
	buffer := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buffer)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, name := range strings.Split(strings.TrimSuffix(string(buffer[:n]), "\x00"), "\x00") {
		if name != "" {
			value := make([]byte, 4096)
			size, err := unix.Lgetxattr(path, name, value)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, fmt.Sprintf(" %s=%x", name, value[:size]))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, "")
}

func TestCheckSpace(t *testing.T) {
	if err := checkSpace(t.TempDir(), 0); err != nil {
		t.Error(err)
	}
	if err := checkSpace(t.TempDir(), math.MaxUint64); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	long := makeTar(t, file("a", strings.Repeat("a", 1<<20)), file("b", "b"))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"absolute name":                 {makeTar(t, file("/passwd", "evil")), "absolute path"},
		"name that leads out":           {makeTar(t, file("../passwd", "evil")), "leads outside"},
		"name that leads out later":     {makeTar(t, folder("a", 0o755), file("a/../../passwd", "evil")), "leads outside"},
		"name that leads out and in":    {makeTar(t, file("a/../passwd", "evil")), "leads outside"},
		"folder that leads out":         {makeTar(t, folder("..", 0o777)), "leads outside"},
		"hard link that leads out":      {makeTar(t, hardlink("a", "../passwd")), "leads outside"},
		"hard link to an absolute name": {makeTar(t, hardlink("a", "/etc/passwd")), "no such file"},
		"hard link through a link":      {makeTar(t, symlink("l", "../neighbour"), hardlink("a", "l/passwd")), "escapes"},
		"write through a link":          {makeTar(t, symlink("l", "../neighbour"), file("l/passwd", "evil")), "escapes"},
		"folder through a link":         {makeTar(t, symlink("l", ".."), folder("l/x", 0o755)), "escapes"},
		"node through a link":           {makeTar(t, symlink("l", ".."), node("l/x", tar.TypeChar, 1, 3)), "escapes"},
		"link through a link":           {makeTar(t, symlink("l", ".."), symlink("l/x", "/etc")), "escapes"},
		"whiteout through a link":       {makeTar(t, symlink("l", "../neighbour"), file("l/.wh.passwd", "")), "whiteout"},
		"opaque through a link":         {makeTar(t, symlink("l", "../neighbour"), file("l/.wh..wh..opq", "")), "whiteout"},
		"whiteout of the folder above":  {makeTar(t, file(".wh...", "")), "whiteout"},
		"whiteout in a FIFO":            {makeTar(t, node("f", tar.TypeFifo, 0, 0), file("f/.wh.x", "")), "whiteout"},
		"whiteout in an aliased FIFO": {makeTar(t, folder("d/f", 0o755), symlink("s", "d"), node("s/f", tar.TypeFifo, 0, 0),
			file("d/f/.wh.x", "")), "whiteout"},
		"whiteout in a hard linked FIFO": {makeTar(t, node("f", tar.TypeFifo, 0, 0), hardlink("h", "f"), file("h/.wh..wh..opq", "")), "whiteout"},
		"whiteout in a device":           {makeTar(t, node("d", tar.TypeChar, 1, 3), file("d/.wh..wh..opq", "")), "whiteout"},
		"root folder as a link":          {makeTar(t, symlink("./", "/etc")), "not a folder"},
		"overlayfs's own attribute":      {makeTar(t, folder("a", 0o755).xattr("trusted.overlay.redirect", "/etc")), "overlayfs"},
		"attribute the kernel refuses":   {makeTar(t, node("a", tar.TypeChar, 1, 3).xattr("user.x", "y")), "extended attribute"},
		"attribute with an unknown name": {makeTar(t, file("a", "").xattr("nonsense.x", "y")), "xattr"},
		"huge attribute":                 {makeTar(t, file("a", "").xattr("user.x", strings.Repeat("y", 100<<10))), "user.x"},
		"file under a file":              {makeTar(t, file("a", ""), file("a/b", "")), "not a directory"},
		"empty":                          {nil, "truncated"},
		"cut in a header":                {long[:100], "unexpected EOF"},
		"cut in content":                 {long[:1000], "unexpected EOF"},
		"cut before the last entry":      {long[:512+1<<20], "truncated"},
		"cut before the end":             {long[:len(long)-1024], "truncated"},
		"no tar":                         {[]byte(strings.Repeat("this is no tar\n", 100)), "invalid tar header"},
		"cut gzip":                       {compress(t, "gzip", long)[:600], "EOF"},
		"cut zstd":                       {compress(t, "zstd", long)[:60], "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := unpackIn(t, c.data); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

// A sparse file of a few bytes in the stream must not fill the disk.
func TestUnpackRefusesSparseBomb(t *testing.T) {
	dir := t.TempDir()
	run(t, "sh", "-ec", `cd "$1"; truncate -s 15T bomb; tar --sparse --format=pax -cf x.tar bomb`, "sh", dir)
	data, err := os.ReadFile(dir + "/x.tar")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := unpackIn(t, data); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "bomb") {
		t.Errorf("%v", err)
	}
}

func compress(t testing.TB, tool string, data []byte) []byte {
	t.Helper()
	if tool == "gzip" {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(data); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	command := exec.Command(tool, "-c")
	command.Stdin = bytes.NewReader(data)
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s (a package of that name is needed): %v", tool, err)
	}
	return out
}

func TestUnpackCompressed(t *testing.T) {
	plain := makeTar(t, file("a", "hello"))
	for _, tool := range []string{"gzip", "zstd", "xz", "bzip2"} {
		packed := compress(t, tool, plain)
		dir, got, err := unpackIn(t, packed)
		if err != nil {
			t.Fatalf("%s: %v", tool, err)
		}
		if want := (unpacked{digestOf(plain), digestOf(packed), int64(len(plain))}); got != want {
			t.Errorf("%s: %v, want %v", tool, got, want)
		}
		if data, err := os.ReadFile(filepath.Join(dir, "a")); string(data) != "hello" {
			t.Errorf("%s: %q, %v", tool, data, err)
		}
	}
}

// The digests are of the whole stream, with what follows the tar's end.
func TestUnpackHashesToTheEnd(t *testing.T) {
	data := append(makeTar(t, file("a", "")), strings.Repeat("more", 100000)...)
	_, got, err := unpackIn(t, data)
	if err != nil || got.diffID != digestOf(data) || got.digest != digestOf(data) {
		t.Errorf("%v, %v; want %s", got, err, digestOf(data))
	}
}

func TestUnpackKeepsWhatTheTarSays(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	tool := file("bin/tool", "x").xattr("security.capability", pingCapability)
	tool.header.Mode, tool.header.Uid, tool.header.Gid = 0o4755, 12, 34
	again := hardlink("bin/again", "bin/tool")
	again.header.Mode, again.header.Uid, again.header.Gid = 0o4755, 12, 34 // as archivers write it
	dir, _, err := unpackIn(t, makeTar(t,
		folder("./", 0o1751).xattr("user.root", "yes"),
		tool,
		again,
		symlink("sbin", "/bin"),
		file("sbin/through", "inside"),
		node("null", tar.TypeChar, 1, 3),
		node("gone/fifo", tar.TypeFifo, 0, 0),
	))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(describe(t, dir, "?"), "\n")
	for _, want := range []string{
		". 41751 0:0 user.root=796573",
		fmt.Sprintf("bin/tool 104755 12:34 1700000000 links=2 %x security.capability=%x", sha256.Sum256([]byte("x")), pingCapability),
		"sbin 120777 0:0 1700000000 -> /bin",
		"bin/through 100644 0:0",
		"null 20600 0:0 1700000000 1:3",
		"gone/fifo 10600",
		"bin 40755", // implied, whatever the umask
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestUnpackWhiteouts(t *testing.T) {
	dir, _, err := unpackIn(t, makeTar(t,
		folder("etc", 0o755), file("etc/.wh.passwd", ""),
		folder("var", 0o700), file("var/.wh..wh..opq", ""), file("var/new", ""),
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

// GNU tar is the oracle for a tree with everything in it.
func TestUnpackLikeGNUTar(t *testing.T) {
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
}

// Whatever the bytes: nothing outside the folder changes, and it ends.
func FuzzUnpackLayer(f *testing.F) {
	f.Add(makeTar(f, folder("./", 0o755), file("a", "x").xattr("user.x", "y"), hardlink("b", "a"), symlink("c", "../.."), file("c/d", "")))
	f.Add(makeTar(f, folder("d", 0o755), file("d/.wh.x", ""), file("d/.wh..wh..opq", ""), node("n", tar.TypeChar, 1, 3)))
	f.Add(makeTar(f, node("p", tar.TypeFifo, 0, 0), file("p/.wh.x", ""), symlink("s", "/p"), hardlink("h", "/p")))
	f.Add(compress(f, "gzip", makeTar(f, file("../x", ""))))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		_, got, err := unpackIn(t, data)
		if err == nil && got.digest != digestOf(data) {
			t.Errorf("digest %s of %s", got.digest, digestOf(data))
		}
	})
}
