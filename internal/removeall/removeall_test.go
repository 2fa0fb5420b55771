package removeall

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// chain makes directories in each other, and a file in every one.
func chain(t *testing.T, dir string, depth int) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	for range depth {
		if err == nil {
			err = errors.Join(unix.Mkdirat(fd, "d", 0o700), unix.Mknodat(fd, "file", unix.S_IFREG|0o600, 0))
		}
		if err != nil {
			t.Fatal(err)
		}
		var next int
		next, err = unix.Openat(fd, "d", unix.O_PATH|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRemove(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, path string){
		"nothing":         func(*testing.T, string) {},
		"no parent":       func(t *testing.T, path string) { _ = os.Remove(filepath.Dir(path)) },
		"file":            func(t *testing.T, path string) { write(t, path) },
		"empty directory": func(t *testing.T, path string) { mkdir(t, path) },
		"tree": func(t *testing.T, path string) {
			write(t, filepath.Join(path, "a/b/c"))
			write(t, filepath.Join(path, "a/d"))
		},
		"dangling link": func(t *testing.T, path string) {
			mkdir(t, path)
			symlink(t, "nowhere", filepath.Join(path, "link"))
		},
		"deeper than the limit on open files, and than PATH_MAX": func(t *testing.T, path string) {
			mkdir(t, path)
			chain(t, path, 2500)
		},
		"wide, also far down": func(t *testing.T, path string) {
			deep := filepath.Join(path, strings.Repeat("d/", 3*maxOpen))
			for i := range 400 {
				write(t, fmt.Sprintf("%s/%d/file", deep, i))
				write(t, fmt.Sprintf("%s/%d/file", path, i))
			}
		},
		"names of the own kind": func(t *testing.T, path string) {
			for i := range 3 {
				write(t, fmt.Sprintf("%s/.removing-%d/file", path, i))
			}
			write(t, filepath.Join(path, ".removing-3"))
			mkdir(t, filepath.Join(path, ".removing-4"))
			chain(t, path, 5*maxOpen)
		},
		"names of 255 bytes": func(t *testing.T, path string) {
			for i := range 200 {
				write(t, filepath.Join(path, strings.Repeat("n", 250)+fmt.Sprintf("%05d", i)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "parent", "path")
			mkdir(t, filepath.Dir(path))
			prepare(t, path)
			if err := Remove(path); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("it is still there (%v)", err)
			}
		})
	}
}

// What a link points to stays.
func TestRemoveFollowsNoLink(t *testing.T) {
	kept := write(t, filepath.Join(t.TempDir(), "kept", "file"))
	path := filepath.Join(t.TempDir(), "path")
	mkdir(t, path)
	symlink(t, filepath.Dir(kept), filepath.Join(path, "link"))
	symlink(t, path, path+"-link")
	for _, p := range []string{path, path + "-link"} {
		if err := Remove(p); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

// The rest of a tree goes when one entry cannot.
func TestRemoveReportsTheFirstError(t *testing.T) {
	testenv.Root(t)
	inPrivateMounts(t)
	path := t.TempDir()
	kept := write(t, filepath.Join(t.TempDir(), "kept"))
	mountPoint := filepath.Join(path, "a", "mount")
	write(t, filepath.Join(mountPoint, "hidden"))
	write(t, filepath.Join(path, "a", "z"))
	write(t, filepath.Join(path, "z"))
	if err := unix.Mount(filepath.Dir(kept), mountPoint, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(mountPoint, 0); err != nil {
			t.Error(err)
		}
	}()
	err := Remove(path)
	var at *os.PathError
	if !errors.As(err, &at) || at.Path != mountPoint || !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EXDEV) {
		t.Errorf("got %v, want an error about %s", err, mountPoint)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error("Remove went into a mount:", err)
	}
	for _, gone := range []string{filepath.Join(path, "a", "z"), filepath.Join(path, "z")} {
		if _, err := os.Stat(gone); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", gone, err)
		}
	}
}

func TestRemoveImmutable(t *testing.T) {
	testenv.Root(t)
	path := t.TempDir()
	file := write(t, filepath.Join(path, "dir", "sub", "other"))
	appended := write(t, filepath.Join(path, "dir", "log"))
	chain(t, filepath.Join(path, "dir", "sub"), 2*maxOpen)
	set := func(name string, attribute int) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		old, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		if err == nil {
			err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, old|attribute)
		}
		if err != nil {
			t.Skip("the file system of the temporary directory has no attributes:", err)
		}
	}
	deep := filepath.Join(path, "dir", "sub", strings.Repeat("d/", maxOpen))
	for name, attribute := range map[string]int{
		file: immutable, appended: appendOnly, deep: immutable,
		filepath.Dir(file): immutable, filepath.Join(path, "dir"): appendOnly,
	} {
		set(name, attribute)
	}
	if err := os.RemoveAll(path); err == nil {
		t.Fatal("the attributes protect nothing")
	}
	if err := Remove(path); err != nil {
		t.Error(err)
	}
}

// A deep tree takes few descriptors. Some are left to the tests themselves, which open files too.
func TestRemoveWithFewDescriptors(t *testing.T) {
	for _, spare := range []int{8, maxOpen + 4} {
		t.Run(fmt.Sprint(spare), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "path")
			mkdir(t, path)
			chain(t, path, 200)
			free, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(free)
			var limit unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
			few := limit
			few.Cur = uint64(free + spare)
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
				t.Fatal(err)
			}
			err = Remove(path)
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// inPrivateMounts gives the test a mount namespace; its thread ends with it.
func inPrivateMounts(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}
