package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// writeVia is WriteVia where a writer was killed before.
func writeVia(path string, data []byte, perm os.FileMode) error {
	temporary := filepath.Join(filepath.Dir(path), ".new-via")
	if err := os.WriteFile(temporary, []byte("longer than the new content"), perm); err != nil {
		return err
	}
	return WriteVia(temporary, path, data, perm)
}

func TestWrite(t *testing.T) {
	before := unix.Umask(0o027)
	defer unix.Umask(before)
	for name, c := range map[string]struct {
		make func(path string) error
		mode fs.FileMode
	}{
		"new":           {func(string) error { return nil }, 0o640},
		"exists":        {func(p string) error { return errors.Join(os.WriteFile(p, []byte("old"), 0o600), os.Chmod(p, 0o606)) }, 0o606},
		"symbolic link": {func(p string) error { return os.Symlink("/dev/null", p) }, 0o640},
	} {
		for how, write := range map[string]func(string, []byte, os.FileMode) error{"Write": Write, "WriteSync": WriteSync, "WriteVia": writeVia} {
			t.Run(name+"/"+how, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "file")
				if err := c.make(path); err != nil {
					t.Fatal(err)
				}
				if err := write(path, []byte("new"), 0o666); err != nil {
					t.Fatal(err)
				}
				info, err := os.Lstat(path)
				if err != nil || info.Mode() != c.mode {
					t.Errorf("mode %v, %v; want %v", info.Mode(), err, c.mode)
				}
				if data, err := os.ReadFile(path); err != nil || string(data) != "new" {
					t.Errorf("content %q, %v", data, err)
				}
				onlyFile(t, dir)
			})
		}
	}
}

// The name is taken by a directory, which rename(2) does not replace.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("new"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	onlyFile(t, dir)
}

// Root replaces a user's file, and the user can read it as before.
func TestWriteKeepsOwner(t *testing.T) {
	testenv.Root(t)
	path := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(path, []byte("old"), 0o640), os.Chown(path, 1234, 1235)); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	var now unix.Stat_t
	if err := unix.Stat(path, &now); err != nil || now.Uid != 1234 || now.Gid != 1235 || now.Mode&0o7777 != 0o640 {
		t.Errorf("owner %d, group %d, mode %o; %v", now.Uid, now.Gid, now.Mode, err)
	}
}

func onlyFile(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v, %v; want the file alone", entries, err)
	}
}

// Read does not wait for what is not a file.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(file, []byte("text"), 0o600), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	if data, err := Read(file); err != nil || string(data) != "text" {
		t.Errorf("a file: %q, %v", data, err)
	}
	for path, want := range map[string]error{fifo: ErrNotRegular, dir: ErrNotRegular, "/dev/zero": ErrNotRegular, dir + "/none": os.ErrNotExist} {
		if _, err := Read(path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}
