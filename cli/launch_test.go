package cli

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher"
)

// A file of --cidfile that cannot be written does not stay: the next launch would refuse it.
func TestIDFileOnFullDisk(t *testing.T) {
	testenv.Root(t)
	runtime.LockOSThread() // and never unlocked: the mounts end with the thread
	if err := launcher.PrivateMounts(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH) //nolint:errcheck // it ends with the thread
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "id")
	if _, err := writeID(file, "0123"); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}
