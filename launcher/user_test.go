package launcher

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func newRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestExecUser(t *testing.T) {
	root := newRoot(t, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/home/ann:/bin/sh\n",
		"etc/group":  "users:x:100:\nwheel:x:10:ann\n",
	})
	for _, tt := range []struct {
		spec     string
		groups   []string
		uid, gid int
		home     string
		sgids    []int
	}{
		{"", nil, 0, 0, "/root", []int{0}},
		{"ann", nil, 1000, 100, "/home/ann", []int{100, 10}},
		{"1000", nil, 1000, 100, "/home/ann", []int{100, 10}},
		{"7:8", nil, 7, 8, "/", []int{8}},
		{"ann:wheel", nil, 1000, 10, "/home/ann", []int{10}},
		{"7", []string{"wheel", "99"}, 7, 0, "/", []int{0, 10, 99}},
	} {
		u, err := execUser(root, tt.spec, tt.groups)
		if err != nil {
			t.Errorf("%q: %v", tt.spec, err)
			continue
		}
		if u.Uid != tt.uid || u.Gid != tt.gid || u.Home != tt.home || !slices.Equal(u.Sgids, tt.sgids) {
			t.Errorf("%q: got %+v", tt.spec, u)
		}
	}
	if _, err := execUser(root, "bob", nil); err == nil || !strings.Contains(err.Error(), "unable to find user bob") {
		t.Errorf("bob: got %v", err)
	}
}

// An untrusted root must not make the launcher read the host's files, or block.
func TestExecUserHostileRoot(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(secret, []byte("ann:x:4242:4242::/:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(path string) error{
		"absolute link": func(path string) error { return os.Symlink(secret, path) },
		"relative link": func(path string) error { return os.Symlink(strings.Repeat("../", 40)+secret, path) },
		"fifo":          func(path string) error { return unix.Mkfifo(path, 0o644) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		root := newRoot(t, map[string]string{"etc/group": ""})
		if err := plant(filepath.Join(root, "etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if u, err := execUser(root, "ann", nil); err == nil {
			t.Errorf("%s: ann is %+v", name, u)
		}
		if _, err := execUser(root, "0", nil); err != nil {
			t.Errorf("%s: a number needs no file: %v", name, err)
		}
	}
}
