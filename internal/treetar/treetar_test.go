package treetar

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

func own(int, int) (int, int) { return os.Geteuid(), os.Getegid() }

// open opens a directory as cp does.
func open(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// written returns a tree as a stream.
func written(t testing.TB, dir, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := errors.Join(Write(w, open(t, dir), name), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// GNU tar reads what Write writes, and find(1) sees the same tree as what was copied.
func TestCopy(t *testing.T) {
	_, err := exec.LookPath("tar")
	testenv.Need(t, "tar", err == nil)
	from, gnu, ours := t.TempDir(), t.TempDir(), t.TempDir()
	script := `mkdir -p a/b a/empty; echo text >a/f; ln a/f a/b/hard; ln -s f a/link; ln -s /etc/passwd a/absolute; ln -s b a/dir
mkfifo a/fifo; touch -d 2001-02-03T04:05:06.789 a/fifo; chmod 4711 a/f; chmod 1777 a/empty; touch -d 2001-02-03T04:05:06 a/f a/b a; : >'a/ name
x'; head -c 100000 /dev/zero >a/zeros`
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = from
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	stream := written(t, filepath.Join(from, "a"), "a")
	untar := exec.Command("tar", "-xp", "-C", gnu)
	untar.Stdin = bytes.NewReader(stream)
	if out, err := untar.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := Extract(bytes.NewReader(stream), open(t, ours), own); err != nil {
		t.Fatal(err)
	}
	list := func(dir string) string {
		cmd := exec.Command("sh", "-c", `find . -mindepth 1 ! -type l -printf '%P %y %m %n %T@\n' -o -printf '%P %y %l\n' | sort; find . -type f -exec sha256sum {} + | sort`)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	want := list(from)
	for name, dir := range map[string]string{"GNU tar": gnu, "Extract": ours} {
		if diff := cmp.Diff(want, list(dir)); diff != "" {
			t.Errorf("%s: the tree -, its copy +:\n%s", name, diff)
		}
	}
}

type entry struct {
	kind           byte
	name, to, text string
}

func streamOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.to, Mode: 0o755, Size: int64(len(e.text))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Nothing is made or read outside of the directory, whatever a stream says.
func TestHostileStream(t *testing.T) {
	for name, tt := range map[string]struct {
		entries []entry
		want    string
	}{
		"parent":         {[]entry{{tar.TypeReg, "../evil", "", "x"}}, "leads out"},
		"parents":        {[]entry{{tar.TypeReg, "a/../../evil", "", "x"}}, "leads out"},
		"absolute":       {[]entry{{tar.TypeReg, "/a", "", "x"}}, ""},
		"link":           {[]entry{{tar.TypeSymlink, "l", "../outside", ""}, {tar.TypeReg, "l/evil", "", "x"}}, "not a directory"},
		"absolute link":  {[]entry{{tar.TypeSymlink, "l", "OUTSIDE", ""}, {tar.TypeReg, "l/evil", "", "x"}}, "not a directory"},
		"through a link": {[]entry{{tar.TypeSymlink, "l", "OUTSIDE/secret", ""}, {tar.TypeReg, "l", "", "x"}}, ""},
		"hard link":      {[]entry{{tar.TypeLink, "h", "../outside/secret", ""}, {tar.TypeReg, "h", "", "x"}}, "leads out"},
		"linked hard":    {[]entry{{tar.TypeSymlink, "l", "../outside", ""}, {tar.TypeLink, "h", "l/secret", ""}}, "symbolic link"},
		"dir on file":    {[]entry{{tar.TypeReg, "a", "", "x"}, {tar.TypeDir, "a", "", ""}}, "cannot overwrite non-directory with directory"},
		"file on dir":    {[]entry{{tar.TypeDir, "a", "", ""}, {tar.TypeReg, "a", "", "x"}}, "cannot overwrite directory with non-directory"},
		"dir on a link":  {[]entry{{tar.TypeSymlink, "l", "OUTSIDE", ""}, {tar.TypeDir, "l", "", ""}}, "cannot overwrite non-directory with directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, outside := lonelyDir(t)
			for i := range tt.entries {
				tt.entries[i].to = strings.Replace(tt.entries[i].to, "OUTSIDE", outside, 1)
			}
			err := Extract(bytes.NewReader(streamOf(t, tt.entries...)), open(t, dir), own)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			wantAlone(t, outside)
		})
	}
}

// lonelyDir returns a directory, and one beside it with a secret.
func lonelyDir(t testing.TB) (dir, outside string) {
	t.Helper()
	above := t.TempDir()
	dir, outside = filepath.Join(above, "dir"), filepath.Join(above, "outside")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir, outside
}

// wantAlone checks that outside is as it was.
func wantAlone(t testing.TB, outside string) {
	t.Helper()
	names, err := filepath.Glob(outside + "/*")
	text, failed := os.ReadFile(filepath.Join(outside, "secret"))
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	beside, _ := filepath.Glob(filepath.Join(filepath.Dir(outside), "*"))
	if len(names) != 1 || string(text) != "secret" || len(beside) != 2 {
		t.Errorf("outside: %v %q, beside it: %v", names, text, beside)
	}
}

// Another program that exchanges a directory for a link all the time leads neither side out.
func TestSwappedMeanwhile(t *testing.T) {
	dir, outside := lonelyDir(t)
	sub, link := filepath.Join(dir, "sub"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(sub, 0o755), os.WriteFile(filepath.Join(sub, "secret"), []byte("plain"), 0o600), os.Symlink(outside, link)); err != nil {
		t.Fatal(err)
	}
	stop := testenv.Exchange(sub, link)
	fd := open(t, dir)
	stream := streamOf(t, entry{tar.TypeReg, "sub/evil", "", "x"}, entry{tar.TypeReg, "link/evil", "", "x"})
	read := 0
	for range 2000 {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		if err := Write(w, fd, "."); err == nil && bytes.Contains(out.Bytes(), []byte("plain")) {
			read++
		}
		if bytes.Contains(out.Bytes(), []byte("\x00secret\x00")) {
			t.Fatal("the secret was read")
		}
		_ = Extract(bytes.NewReader(stream), fd, own) // which fails when it meets the link
	}
	stop()
	if read == 0 {
		t.Error("nothing was ever read")
	}
	wantAlone(t, outside)
}

func FuzzExtract(f *testing.F) {
	f.Add(streamOf(f, entry{tar.TypeDir, "d/", "", ""}, entry{tar.TypeReg, "d/f", "", "x"}, entry{tar.TypeLink, "h", "d/f", ""}))
	f.Add(streamOf(f, entry{tar.TypeSymlink, "l", "../outside", ""}, entry{tar.TypeReg, "l/evil", "", "x"}))
	f.Add(streamOf(f, entry{tar.TypeReg, "a/../../outside/evil", "", "x"}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		dir, outside := lonelyDir(t)
		_ = Extract(bytes.NewReader(stream), open(t, dir), own)
		wantAlone(t, outside)
	})
}
