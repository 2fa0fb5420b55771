package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// pingCapability is security.capability as `setcap cap_net_raw=ep` writes it
// (struct vfs_cap_data, revision 2).
const pingCapability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

var someTime = time.Unix(1700000000, 0)

// file, dirEntry, symlink, hardlink and node return entries of a tarball.
func file(name, content string) tarEntry {
	return tarEntry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: someTime}, content}
}

func dirEntry(name string, mode int64) tarEntry {
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

var globalHeader = tarEntry{tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "x", PAXRecords: map[string]string{"comment": "x"}}, ""}

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

// unpackIn unpacks into a directory with a neighbour, and fails the test when
// anything but the directory changed.
func unpackIn(t testing.TB, data []byte) (string, unpacked, error) {
	t.Helper()
	testenv.Root(t)
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
	space, err := newSpace(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer space.close()
	space.limits.Bytes = 1 << 30 // go-archive writes holes
	got, err := unpackLayer(context.Background(), bytes.NewReader(data), dir, space)
	if space.claimed != (amount{}) {
		t.Errorf("%+v is claimed at the end", space.claimed)
	}
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
		switch name {
		case without:
			return filepath.SkipDir
		case without + recordSuffix:
			return nil
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
