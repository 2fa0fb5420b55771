package launcher

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

func TestObstacle(t *testing.T) {
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc"},
		{Destination: "/sys", Type: "sysfs", Options: []string{"nosuid", "ro"}},
		{Destination: "/data", Type: "bind", Options: []string{"rbind", "ro"}},
		{Destination: "/data/tmp", Type: "tmpfs", Options: []string{"rw"}},
		{Destination: "/late", Type: "bind", Options: []string{"rbind", "rro"}},
		{Destination: "/late", Type: "tmpfs"},
	}
	linux := &specs.Linux{MaskedPaths: []string{"/sys/firmware"}, ReadonlyPaths: []string{"/proc/sys"}}
	for _, test := range []struct {
		path  string
		errno unix.Errno
		root  bool // --read-only
		want  Obstacle
	}{
		{"/proc/sys/kernel/panic", unix.EROFS, false, Obstacle{Kind: ReadOnlyPath, Path: "/proc/sys"}},
		{"/proc/sys/kernel/panic", unix.EACCES, false, Obstacle{}},
		{"/proc/sysrq", unix.EROFS, false, Obstacle{}},
		{"/sys/firmware", unix.EACCES, false, Obstacle{Kind: MaskedPath, Path: "/sys/firmware"}},
		{"/sys/firmware/a", unix.EROFS, true, Obstacle{Kind: MaskedPath, Path: "/sys/firmware"}},
		{"/sys/kernel", unix.EROFS, true, Obstacle{Kind: ReadOnlyMount, Path: "/sys"}},
		{"/data", unix.EROFS, false, Obstacle{Kind: ReadOnlyMount, Path: "/data", Volume: true}},
		{"/data/tmp/x", unix.EROFS, true, Obstacle{}},
		{"/database", unix.EROFS, true, Obstacle{Kind: ReadOnlyRoot, Path: "/"}},
		{"/database", unix.EROFS, false, Obstacle{}},
		{"/late/x", unix.EROFS, true, Obstacle{}},
	} {
		s := &specs.Spec{Root: &specs.Root{Readonly: test.root}, Mounts: mounts, Linux: linux}
		if got := obstacle(s, test.path, test.errno); got != test.want {
			t.Errorf("%s, %v: %+v, want %+v", test.path, test.errno, got, test.want)
		}
	}
	if got := obstacle(&specs.Spec{}, "/x", unix.EROFS); got != (Obstacle{}) {
		t.Errorf("an empty description: %+v", got)
	}
}

// A device is found by its path in the container, also through a link that leads out of it.
func TestDeviceAt(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	if err := unix.Mknod(filepath.Join(dir, "disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(8, 300))); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"inside": "/disk", "outside": "../../../../dev/null"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for path, want := range map[string]string{"/disk": "b 8:300", "/inside": "b 8:300", "/outside": "", "/": "", "/none": ""} {
		if got := deviceAt(root, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
