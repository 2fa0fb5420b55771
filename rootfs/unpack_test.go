package rootfs

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		os.Exit(runChild(name))
	}
	os.Exit(m.Run())
}

func TestCheckSpace(t *testing.T) {
	if err := checkSpace(t.TempDir(), 0, 0); err != nil {
		t.Error(err)
	}
	if err := checkSpace(t.TempDir(), math.MaxUint64, 0); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	longHeader := makeTar(t, file("a", "").xattr("user.x", strings.Repeat("x", 1<<19)))
	copy(longHeader[124:], "00004000001") // the size of the extended header, and its checksum
	longHeader = append(checksummed(longHeader), make([]byte, 1<<20)...)
	long := makeTar(t, file("a", strings.Repeat("a", 1<<20)), file("b", "b"))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"name that leads out":              {makeTar(t, file("../passwd", "evil")), "leads out of the root"},
		"name that leads out of /":         {makeTar(t, file("/../passwd", "evil")), "leads out of the root"},
		"name that leads out later":        {makeTar(t, dirEntry("a", 0o755), file("a/../../passwd", "evil")), "leads out of the root"},
		"directory that leads out":         {makeTar(t, dirEntry("..", 0o777)), "leads out of the root"},
		"hard link that leads out":         {makeTar(t, hardlink("a", "../passwd")), "leads out of the root"},
		"hard link to an absolute name":    {makeTar(t, hardlink("a", "/etc/passwd")), "no such file"},
		"hard link to nothing":             {makeTar(t, hardlink("a", "")), "it is empty"},
		"hard link to the root directory":  {makeTar(t, hardlink("a", "/")), "a hard link to the root directory"},
		"hard link through a link":         {makeTar(t, symlink("l", "../neighbour"), hardlink("a", "l/passwd")), "a symbolic link leads out of the root"},
		"write through a link":             {makeTar(t, symlink("l", "../neighbour"), file("l/passwd", "evil")), "a symbolic link leads out of the root"},
		"directory through a link":         {makeTar(t, symlink("l", ".."), dirEntry("l/x", 0o755)), "a symbolic link leads out of the root"},
		"node through a link":              {makeTar(t, symlink("l", ".."), node("l/x", tar.TypeChar, 1, 3)), "a symbolic link leads out of the root"},
		"link through a link":              {makeTar(t, symlink("l", ".."), symlink("l/x", "/etc")), "a symbolic link leads out of the root"},
		"whiteout through a link":          {makeTar(t, symlink("l", "../neighbour"), file("l/.wh.passwd", "")), "a symbolic link leads out of the root"},
		"whiteout of the directory above":  {makeTar(t, file(".wh...", "")), "whiteout"},
		"whiteout of the directory itself": {makeTar(t, file("a/.wh..", "")), "whiteout"},
		"whiteout of nothing":              {makeTar(t, file("a/.wh.", "")), "whiteout"},
		"whiteout in a FIFO":               {makeTar(t, node("f", tar.TypeFifo, 0, 0), file("f/.wh.x", "")), "not a directory"},
		"whiteout in an aliased FIFO": {makeTar(t, dirEntry("d/f", 0o755), symlink("s", "d"), node("s/f", tar.TypeFifo, 0, 0),
			file("d/f/.wh.x", "")), "not a directory"},
		"whiteout in a device":             {makeTar(t, node("d", tar.TypeChar, 1, 3), file("d/.wh.x", "")), "not a directory"},
		"root directory as a link":         {makeTar(t, symlink("./", "/etc")), "not a directory"},
		"reserved for overlayfs attribute": {makeTar(t, dirEntry("a", 0o755).xattr("trusted.overlay.redirect", "/etc")), "overlayfs"},
		"huge attribute":                   {makeTar(t, file("a", "").xattr("user.x", strings.Repeat("y", 100<<10))), "user.x"},
		"file under a file":                {makeTar(t, file("a", ""), file("a/b", "")), "not a directory"},
		"user beyond the last":             {makeTar(t, owned(1<<32, 0)), "belongs to 4294967296:0"},
		"group that means none":            {makeTar(t, owned(0, 1<<32-1)), "the highest user and group is 4294967294"},
		"device beyond the last":           {makeTar(t, node("d", tar.TypeBlock, 4096, 0)), "invalid device number 4096:0"},
		"unknown type":                     {makeTar(t, node("d", 'V', 0, 0)), "the unknown type 'V'"},
		"long name":                        {makeTar(t, file(strings.Repeat("n/", maxName/2)+"n", "")), "the name is longer than 4096 bytes"},
		"long link":                        {makeTar(t, symlink("a", strings.Repeat("n/", maxName/2)+"n")), "the target is longer than 4096 bytes"},
		"long header":                      {longHeader, "the headers of an entry are larger than 1 MiB"},
		"cut in a header":                  {long[:100], "unexpected EOF"},
		"cut in content":                   {long[:1000], "unexpected EOF"},
		"no tar":                           {[]byte(strings.Repeat("this is no tar\n", 100)), "it is not a tar, or it is damaged"},
		"cut gzip":                         {compress(t, "gzip", long)[:600], "it is truncated"},
		"cut zstd":                         {compress(t, "zstd", long)[:60], "it is truncated"},
		"damaged gzip":                     {damaged(compress(t, "gzip", long)), "its compressed data is damaged"},
		"damaged bzip2":                    {damaged(compress(t, "bzip2", long)), "its compressed data is damaged"},
		"damaged zstd":                     {damaged(compress(t, "zstd", long)), "its compressed data is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := unpackIn(t, c.data); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

// damaged changes the checksum at the end of a compressed stream.
func damaged(packed []byte) []byte {
	at := len(packed) - 5 // gzip has the size in the last four bytes
	if packed[0] == 0x28 {
		at = len(packed) - 1 // of zstd
	}
	packed[at] ^= 0xff
	return packed
}

// owned is a file with an owner.
func owned(uid, gid int) tarEntry {
	e := file("owned", "")
	e.header.Uid, e.header.Gid, e.header.Format = uid, gid, tar.FormatPAX
	return e
}

// checksummed corrects the checksum of a tar's first header.
func checksummed(data []byte) []byte {
	copy(data[148:156], "        ")
	var total int
	for _, b := range data[:512] {
		total += int(b)
	}
	copy(data[148:156], fmt.Sprintf("%06o\x00 ", total))
	return data
}

// What Docker takes is taken, and stays below the root.
func TestUnpackTakes(t *testing.T) {
	plain := makeTar(t, file("a", "a"), file("b", "b"))
	sticky := symlink("l", "gone").xattr("user.x", "y")
	for name, c := range map[string]struct {
		data  []byte
		want  string // lines of describe, without what follows the mode
		noEnd bool
	}{
		"absolute names":       {makeTar(t, dirEntry("/", 0o750), file("/etc/passwd", "x"), file("//b", "")), ". 40750, b 100644, etc 40755, etc/passwd 100644", false},
		"names that come back": {makeTar(t, file("a/../b", ""), file("./c/./d", "")), "b 100644, c 40755, c/d 100644", false},
		"hard links":           {makeTar(t, file("/a", ""), hardlink("/b", "/a"), hardlink("c", "x/../a")), "a 100644, b 100644, c 100644", false},
		"nothing":              {nil, "", true},
		"no end":               {plain[:len(plain)-1024], "a 100644, b 100644", true},
		"half an end":          {plain[:len(plain)-512], "a 100644, b 100644", true},
		"cut between entries":  {plain[:1024], "a 100644", true},
		"attributes that links and devices cannot have": {makeTar(t, sticky, node("d", tar.TypeChar, 1, 3).xattr("user.x", "y")), "d 20600, l 120777", false},
		"attributes that no file system has":            {makeTar(t, file("a", "").xattr("nonsense.x", "y"), dirEntry("d", 0o755).xattr("system.x", "y")), "a 100644, d 40755", false},
		"an attribute of what is then replaced":         {makeTar(t, file("d/f", "").xattr("user.x", "y"), file("d", "")), "d 100644", false},
		"owners up to the last":                         {makeTar(t, owned(1<<31+5, 1<<32-2)), "owned 100644 2147483653:4294967294", false},
		"a whiteout of what came before":                {makeTar(t, file("a", "x").xattr("user.x", "y"), file(".wh.a", "")), "a 100644", false},
		"whiteouts through a link inside":               {makeTar(t, dirEntry("d", 0o755), symlink("l", "d"), file("l/.wh.x", ""), file("l/.wh..wh..opq", "")), "d 40755, d/x 20000, l 120777", false},
		"an opaque directory without an entry":          {makeTar(t, file("d/e/.wh..wh..opq", "")), "d 40755, d/e 40755", false},
		"an opaque FIFO":                                {makeTar(t, node("f", tar.TypeFifo, 0, 0), file("f/.wh..wh..opq", "")), "f 10600", false},
		"a global header":                               {append(makeTar(t, globalHeader)[:1024], plain...), "a 100644, b 100644", false},
	} {
		t.Run(name, func(t *testing.T) {
			old := syscall.Umask(0o077)
			defer syscall.Umask(old)
			dir, got, err := unpackIn(t, c.data)
			if err != nil {
				t.Fatal(err)
			}
			if got.noEnd != c.noEnd || got.diffID != digestOf(c.data) {
				t.Errorf("%+v", got)
			}
			lines := describe(t, dir, "?")
			for _, want := range strings.Split(c.want, ", ") {
				if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
					t.Errorf("no %q in\n%s", want, strings.Join(lines, "\n"))
				}
			}
			if want := strings.Count(c.want, ", ") + 2; c.want != "" && c.want[0] != '.' && len(lines) != want {
				t.Errorf("%d files, want %d:\n%s", len(lines), want, strings.Join(lines, "\n"))
			}
		})
	}
}

// Directories keep their times, whatever is made in them later, and files are where their
// entries say.
func TestUnpackManyEntries(t *testing.T) {
	const many = 4096
	old := dirEntry("old", 0o755)
	old.header.ModTime = someTime.Add(-time.Hour)
	entries := []tarEntry{old, symlink("abs", "/old"), dirEntry("abs/sub", 0o755), dirEntry("gone", 0o755), file("first", "x")}
	for i := range 2 * many {
		entries = append(entries, file(fmt.Sprintf("old/%d", i), ""))
	}
	entries = append(entries, hardlink("last", "first"), file("gone", ""), file("abs/sub/x", ""))
	dir, _, err := unpackIn(t, makeTar(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Join(describe(t, dir, "?"), "\n")
	for _, want := range []string{
		"\nold 40755 0:0 1699996400\n", "\nold/sub 40755 0:0 1700000000\n", "\nlast 100644 0:0 1700000000 links=2", "\ngone 100644",
		fmt.Sprintf("\nold/%d 100644", 2*many-1),
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %q", want)
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
		dirEntry("./", 0o1751).xattr("user.root", "yes"),
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

// Whatever the bytes: nothing outside the directory changes, and it ends, with what
// go-archive makes of them.
func FuzzUnpackLayer(f *testing.F) {
	f.Add(makeTar(f, dirEntry("./", 0o755), file("a", "x").xattr("user.x", "y"), hardlink("b", "a"), symlink("c", "../.."), file("c/d", "")))
	f.Add(makeTar(f, dirEntry("d", 0o755), file("d/.wh.x", ""), file("d/.wh..wh..opq", ""), node("n", tar.TypeChar, 1, 3)))
	f.Add(makeTar(f, node("p", tar.TypeFifo, 0, 0), file("p/.wh.x", ""), symlink("s", "/p"), hardlink("h", "/p")))
	f.Add(makeTar(f, file(".wh.a", ""), file("a/b", ""), file("a/.wh.c", ""), dirEntry("a/c", 0o755), file(".wh.a", ""), file("d/.wh..wh..opq", "")))
	f.Add(compress(f, "gzip", makeTar(f, file("../x", ""))))
	f.Add(makeTar(f, dirEntry("/", 0o755), file("/a/../b", ""), hardlink("/c", "/b"), file("l/.wh..wh..opq", ""), globalHeader))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		dir, got, err := unpackIn(t, data)
		if err != nil {
			return
		}
		if got.digest != digestOf(data) {
			t.Errorf("digest %s of %s", got.digest, digestOf(data))
		}
		if got.diffID == got.digest {
			compareWithDocker(t, data, dir)
		}
	})
}
