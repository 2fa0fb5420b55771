package launcher

import (
	"encoding/binary"
	"errors"
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

// What is at a path in the container is found, also through a link that leads out of it.
func TestObstacleAt(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	for _, at := range []string{"nodev", "noexec"} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, at), 0o755), unix.Mount("none", filepath.Join(dir, at), "tmpfs", map[string]uintptr{"nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC}[at], "")); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Unmount(filepath.Join(dir, at), 0) }()
	}
	for _, device := range []string{"disk", "nodev/disk"} {
		if err := unix.Mknod(filepath.Join(dir, device), unix.S_IFBLK|0o600, int(unix.Mkdev(8, 300))); err != nil {
			t.Fatal(err)
		}
	}
	for file, mode := range map[string]os.FileMode{"text": 0o644, "program": 0o700, "permitted": 0o700, "noexec/program": 0o700} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, flag := range map[string]int{"fixed": unix.STATX_ATTR_IMMUTABLE, "log": unix.STATX_ATTR_APPEND} {
		dir := filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flag); err != nil { // FS_IMMUTABLE_FL and FS_APPEND_FL have these values
			t.Fatal(err)
		}
		defer func() { _ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0) }()
	}
	const admin = uint64(1) << unix.CAP_SYS_ADMIN
	for file, flags := range map[string]uint32{"program": 0x02000001, "permitted": 0x02000000} { // VFS_CAP_REVISION_2, and VFS_CAP_FLAGS_EFFECTIVE
		data := binary.LittleEndian.AppendUint32(nil, flags)
		data = binary.LittleEndian.AppendUint32(data, uint32(admin))
		if err := unix.Setxattr(filepath.Join(dir, file), "security.capability", append(data, make([]byte, 12)...), 0); err != nil {
			t.Fatal(err)
		}
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
	disk := func(path string) Obstacle { return Obstacle{Kind: DeviceNode, Path: path, Device: "b 8:300"} }
	for _, test := range []struct {
		path     string
		errno    unix.Errno
		executes bool
		want     Obstacle
	}{
		{"/disk", unix.EPERM, false, disk("/disk")},
		{"/inside", unix.EPERM, false, disk("/inside")},
		{"/disk", unix.EACCES, false, Obstacle{}},
		{"/nodev/disk", unix.EACCES, false, Obstacle{Kind: NoDevices, Path: "/nodev/disk"}},
		{"/outside", unix.EPERM, false, Obstacle{}},
		{"/", unix.EPERM, true, Obstacle{}},
		{"/none", unix.EACCES, true, Obstacle{}},
		{"/text", unix.EACCES, true, Obstacle{Kind: NotExecutable, Path: "/text"}},
		{"/text", unix.EACCES, false, Obstacle{}},
		{"/program", unix.EACCES, true, Obstacle{}},
		{"/fixed", unix.EPERM, false, Obstacle{Kind: Immutable, Path: "/fixed"}},
		{"/fixed/new", unix.EPERM, false, Obstacle{Kind: Immutable, Path: "/fixed"}},
		{"/log/new", unix.EPERM, false, Obstacle{Kind: Immutable, Path: "/log"}},
		{"/fixed/new", unix.EACCES, false, Obstacle{}},
		{"/program", unix.EPERM, true, Obstacle{Kind: Unbounded, Path: "/program", Lacks: admin}},
		{"/program", unix.EPERM, false, Obstacle{}},
		{"/permitted", unix.EPERM, true, Obstacle{}}, // it is executed without them
		{"/noexec/program", unix.EACCES, true, Obstacle{Kind: NoExecutables, Path: "/noexec/program"}},
	} {
		if got := obstacleAt(root, test.path, test.errno, test.executes); got != test.want {
			t.Errorf("%s, %v: %+v, want %+v", test.path, test.errno, got, test.want)
		}
	}
}
