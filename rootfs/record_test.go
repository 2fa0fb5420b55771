package rootfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/minirun/minirun/internal/testenv"
)

// addLayer puts an unpacked layer into a store, with its record.
func addLayer(t *testing.T, data []byte) (s *Store, diffID string) {
	t.Helper()
	dir, got, err := unpackIn(t, data)
	if err != nil {
		t.Fatal(err)
	}
	s = newStore(t)
	a := &addition{store: s}
	if err := errors.Join(noteLayer(dir, got.size), a.takeLayer(got.diffID, dir)); err != nil {
		t.Fatal(err)
	}
	return s, got.diffID
}

// gnuTar makes a tar of what a script leaves in a directory.
func gnuTar(t *testing.T, script string, options ...string) []byte {
	t.Helper()
	testenv.Root(t)
	dir := t.TempDir()
	makeFiles := exec.Command("sh", "-ec", script)
	makeFiles.Dir = dir
	if out, err := makeFiles.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := exec.Command("tar", append(append([]string{"-C", dir}, options...), "-cf", "-", ".")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The tar of an unpacked layer can be written again, whatever wrote it.
func TestWriteTar(t *testing.T) {
	someFiles := `mkdir -p usr/lib a/b; echo one >a/b/one; ln -s b a/link; ln -s /usr/lib lib; ln a/b/one a/two; : >empty
		mkfifo fifo; head -c 100000 /dev/urandom >random; printf x >random2; chmod 4755 random; mkdir ` + strings.Repeat("long/", 40) + " -p"
	sparse := `dd if=/dev/zero of=hole bs=1 count=1 seek=3M status=none; echo end >>hole; echo after >z`
	plain := makeTar(t, dirEntry("dir", 0o755), file("dir/file", "content"), file(".wh.gone", ""), file("dir/.wh..wh..opq", ""))
	for name, data := range map[string][]byte{
		"empty":              makeTar(t),
		"whiteouts":          plain,
		"absolute names":     makeTar(t, file("/etc/passwd", "root"), hardlink("/etc/link", "/etc/passwd")),
		"through a link":     makeTar(t, dirEntry("usr/lib", 0o755), symlink("lib", "/usr/lib"), file("lib/libc.so", "code")),
		"attributes":         makeTar(t, file("ping", "x").xattr("security.capability", pingCapability)),
		"global header":      makeTar(t, globalHeader, file("a", "b")),
		"content after end":  append(bytes.Clone(plain), "these bytes belong to the layer too"...),
		"whiteout with data": makeTar(t, file(".wh.gone", "data"), file("x", "y")),
		"whiteouts replaced": makeTar(t, file(".wh.a", ""), file("a/b", "x"), file(".wh.c", ""), file("c", "y"), file(".wh.c", "")),
		"GNU tar":            gnuTar(t, someFiles),
		"GNU tar, PAX":       gnuTar(t, someFiles, "--format=pax", "--xattrs"),
		"GNU tar, sorted":    gnuTar(t, someFiles, "--format=ustar", "--sort=name", "-b", "1"),
		"GNU sparse":         gnuTar(t, sparse, "--sparse", "--format=gnu"),
		"PAX sparse":         gnuTar(t, sparse, "--sparse", "--format=pax"),
	} {
		t.Run(name, func(t *testing.T) {
			s, diffID := addLayer(t, data)
			var got bytes.Buffer
			if err := s.writeTar(&got, diffID); err != nil || !bytes.Equal(got.Bytes(), data) {
				t.Errorf("%d bytes instead of %d: %v", got.Len(), len(data), err)
			}
		})
	}
}

// A layer of which a file was replaced while it was unpacked has no record.
func TestNoRecord(t *testing.T) {
	for name, data := range map[string][]byte{
		"by a file": makeTar(t, file("a", "one"), file("b", "x"), file("a", "two")),
		"by a link": makeTar(t, file("a", "one"), symlink("a", "b")),
	} {
		t.Run(name, func(t *testing.T) {
			s, diffID := addLayer(t, data)
			if err := s.writeTar(io.Discard, diffID); !errors.Is(err, errNoRecord) {
				t.Error(err)
			}
			if left, _ := filepath.Glob(s.layer(diffID) + recordSuffix); left != nil {
				t.Errorf("%q is left", left)
			}
		})
	}
}

// A change of a layer or of its record is found.
func TestWriteTarDamaged(t *testing.T) {
	data := makeTar(t, dirEntry("dir", 0o755), file("dir/file", "content"), file("other", strings.Repeat("x", 100)))
	pack := func(plain string) []byte {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return w.EncodeAll([]byte(plain), nil)
	}
	replace := func(record []byte) func(string) error {
		return func(layer string) error { return os.WriteFile(layer+recordSuffix, record, 0o600) }
	}
	for name, c := range map[string]struct {
		damage func(layer string) error
		want   string
	}{
		"changed":      {func(l string) error { return os.WriteFile(l+"/dir/file", []byte("Content"), 0o644) }, "the layer's files have changed"},
		"longer":       {func(l string) error { return os.WriteFile(l+"/dir/file", []byte("contents"), 0o644) }, `file "dir/file" has changed`},
		"gone":         {func(l string) error { return os.Remove(l + "/dir/file") }, `file "dir/file" is missing`},
		"no directory": {func(l string) error { return os.RemoveAll(l + "/dir") }, `file "dir/file" is missing`},
		"a FIFO": {func(l string) error {
			return errors.Join(os.Remove(l+"/other"), exec.Command("mkfifo", l+"/other").Run())
		}, `file "other" has changed`},
		"a link outside": {func(l string) error { return errors.Join(os.RemoveAll(l+"/dir"), os.Symlink("/etc", l+"/dir")) }, `file "dir/file" is missing`},
		"no record":      {func(l string) error { return os.Truncate(l+recordSuffix, 0) }, "the record of a tar is truncated"},
		"short record":   {func(l string) error { return os.Truncate(l+recordSuffix, 30) }, "the record of a tar is unreadable: unexpected EOF"},
		"other record":   {replace(pack("minirun tar 2\n")), "the record of a tar is unreadable"},
		"huge size":      {replace(pack(recordMagic + strings.Repeat("\xff", 9) + "\x01")), "the record of a tar is truncated"},
		"half a record":  {replace(pack(recordMagic + "\x01")), "the record of a tar is truncated"},
		"NUL in a name":  {replace(pack(recordMagic + "\x00\x03a\x00b\x01")), `file "a\x00b" is missing`},
		"NUL in a path":  {replace(pack(recordMagic + "\x00\x05a\x00b/c\x01")), `file "a\x00b/c" is missing`},
		"long name":      {replace(pack(recordMagic + "\x00\xac\x02" + strings.Repeat("n", 300) + "\x01")), "is missing"},
		"empty record":   {replace(pack(recordMagic)), "the digest of its tar is sha256:e3b0c44298fc"},
	} {
		t.Run(name, func(t *testing.T) {
			s, diffID := addLayer(t, data)
			if err := c.damage(s.layer(diffID)); err != nil {
				t.Fatal(err)
			}
			err := s.writeTar(io.Discard, diffID)
			if err == nil || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want one with %q", err, c.want)
			}
		})
	}
}

// A record leads to no file outside of the layer, and fails with an error.
func FuzzRemakeTar(f *testing.F) {
	parent := f.TempDir()
	dir := filepath.Join(parent, "layer")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(parent+"/secret", []byte("host"), 0o644),
		os.WriteFile(dir+"/file", []byte("content"), 0o644), os.Symlink("..", dir+"/up")); err != nil {
		f.Fatal(err)
	}
	f.Add("\x03abc\x04file\x07\x00\x00")
	f.Add("\x00\x09up/secret\x04")
	f.Add("\x00\x09../secret\x04")
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, parts string) {
		var got bytes.Buffer
		_ = remakeTar(&got, bytes.NewReader(encoder.EncodeAll([]byte(recordMagic+parts), nil)), dir)
		if !strings.Contains(parts, "host") && strings.Contains(got.String(), "host") {
			t.Errorf("%q", got.String())
		}
	})
}
