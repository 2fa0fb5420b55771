package rootfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/testenv"
)

// childVariable makes the test binary a child that mounts, or that is to be
// killed: what cannot be undone in the test's own process.
const childVariable = "MINIRUN_ROOTFS_TEST"

func runChild(name string) int {
	var err error
	switch name {
	case "overlay":
		err = overlayChild()
	case "hostile":
		err = hostileChild()
	case "small disk":
		err = smallDiskChild()
	case "add":
		err = addChild()
	case "collect":
		err = collectChild()
	case "full disk":
		err = fullDiskChild()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func childCommand(t *testing.T, name string, arguments any) *exec.Cmd {
	t.Helper()
	data, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), childVariable+"="+name)
	command.Stdin = bytes.NewReader(data)
	return command
}

type overlayArguments struct {
	Overlay Overlay
	Prepare string // a shell script to run before Mount, in the mount namespace; $1 is Overlay.Dir
	Script  string // and after it; $1 is the root
}

func overlayChild() error {
	var a overlayArguments
	if err := json.NewDecoder(os.Stdin).Decode(&a); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	shell := func(script, argument string) error {
		command := exec.Command("sh", "-ec", script, "sh", argument)
		command.Stdout, command.Stderr = os.Stdout, os.Stderr
		return command.Run()
	}
	if err := shell(a.Prepare, a.Overlay.Dir); err != nil {
		return err
	}
	before, err := unix.Getwd()
	if err != nil {
		return err
	}
	root, err := a.Overlay.Mount()
	if err != nil {
		if hasCause(err, CauseOnOverlay) {
			err = fmt.Errorf("%w: it is on an overlay", err)
		}
		return fmt.Errorf("%w (hint: %s)", err, hint.Text(err))
	}
	if now, getwdErr := unix.Getwd(); now != before {
		return fmt.Errorf("the working directory is %s, was %s: %w", now, before, getwdErr)
	}
	err = shell(a.Script, root)
	err = errors.Join(err, a.Overlay.Unmount())
	mounts, readErr := os.ReadFile("/proc/self/mountinfo")
	if bytes.Contains(mounts, []byte(a.Overlay.Dir+"/")) && a.Prepare == "" {
		err = errors.Join(err, fmt.Errorf("still mounted:\n%s", mounts))
	}
	return errors.Join(err, readErr)
}

func mounted(t *testing.T, a overlayArguments) (string, error) {
	t.Helper()
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	out, err := childCommand(t, "overlay", a).CombinedOutput()
	own := filepath.Dir(t.TempDir()) // other programs mount, too
	if after, _ := os.ReadFile("/proc/self/mountinfo"); bytes.Count(before, []byte(own)) != bytes.Count(after, []byte(own)) {
		t.Errorf("the host's mounts changed:\n%s", after)
	}
	return string(out), err
}

func layerWith(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOverlayMount(t *testing.T) {
	testenv.Root(t)
	low := layerWith(t, t.TempDir(), map[string]string{"both": "low", "low": "low", "gone": "low"})
	high := layerWith(t, t.TempDir(), map[string]string{"both": "high"})
	if err := errors.Join(unix.Mknod(filepath.Join(high, "gone"), unix.S_IFCHR, 0), os.Chmod(high, 0o751|os.ModeSticky), os.Chown(high, 3, 4)); err != nil {
		t.Fatal(err)
	}
	out, err := mounted(t, overlayArguments{
		Overlay: Overlay{Layers: []string{low, high}, Dir: t.TempDir()},
		Script:  `cd "$1"; cat both low; test ! -e gone; echo new > low; rm both; stat -c ' %a %u:%g' .`,
	})
	if err != nil || out != "highlow 1751 3:4\n" {
		t.Errorf("%q, %v", out, err)
	}
	for name, want := range map[string]string{low + "/low": "low", low + "/both": "low", high + "/both": "high"} {
		if data, err := os.ReadFile(name); string(data) != want {
			t.Errorf("the layer was written: %q, %v", data, err)
		}
	}
}

func TestOverlayPaths(t *testing.T) {
	testenv.Root(t)
	for _, name := range []string{`a:b`, `a,b`, `a\b`, `a b`, `lowerdir=x,upperdir=y`, "new\nline", "é"} {
		dir := filepath.Join(t.TempDir(), name)
		layer := layerWith(t, filepath.Join(t.TempDir(), name), map[string]string{"f": "there"})
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		out, err := mounted(t, overlayArguments{Overlay: Overlay{Layers: []string{layer}, Dir: dir}, Script: `cat "$1/f"`})
		if err != nil || out != "there" {
			t.Errorf("%q: %q, %v", name, out, err)
		}
	}
}

// Long names, so that the paths would not fit mount(2)'s page.
func TestOverlayManyLayers(t *testing.T) {
	testenv.Root(t)
	var layers []string
	for i := range maxLayers + 1 {
		layers = append(layers, layerWith(t, filepath.Join(t.TempDir(), strings.Repeat("long", 30)), map[string]string{
			"top": fmt.Sprint(i), fmt.Sprintf("f%d", i): "",
		}))
	}
	out, err := mounted(t, overlayArguments{
		Overlay: Overlay{Layers: layers[:maxLayers], Dir: t.TempDir()},
		Script:  `cat "$1/top"; ls "$1" | wc -l`,
	})
	if want := fmt.Sprintf("%d%d\n", maxLayers-1, maxLayers+1); err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	if out, err := mounted(t, overlayArguments{Overlay: Overlay{Layers: layers, Dir: t.TempDir()}}); err == nil || !strings.Contains(out, "1 to 500") {
		t.Errorf("one layer too many: %q, %v", out, err)
	}
}

// host: has the container's directory in its lower layer, which overlayfs refuses.
func TestOverlayOfTheHost(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	out, err := mounted(t, overlayArguments{
		Overlay: Overlay{Layers: []string{"/"}, Dir: dir},
		Script:  `cd "$1"; test -x bin/sh; echo x > minirun-test-file; rm -r usr/bin/env; cat minirun-test-file`,
	})
	if err != nil || out != "x\n" {
		t.Fatalf("%q, %v", out, err)
	}
	if _, err := os.Lstat("/minirun-test-file"); !errors.Is(err, os.ErrNotExist) {
		t.Error("the container wrote to the host")
	}
	if _, err := os.Lstat("/usr/bin/env"); err != nil {
		t.Error("the container removed a file of the host")
	}
}

func TestOverlayOnAnOverlay(t *testing.T) {
	testenv.Root(t)
	layer := layerWith(t, t.TempDir(), map[string]string{"f": "there"})
	out, err := mounted(t, overlayArguments{
		Overlay: Overlay{Layers: []string{layer}, Dir: t.TempDir()},
		Prepare: `mount -t tmpfs tmpfs /mnt; mkdir /mnt/l /mnt/u /mnt/w
			mount -t overlay overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w "$1"`,
		Script: "true",
	})
	if err == nil || !strings.Contains(out, "mount root: ") || !strings.Contains(out, ": it is on an overlay") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestOverlayErrors(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		o    Overlay
		want string
	}{
		"no layers":     {Overlay{Dir: dir}, "0 layers"},
		"missing layer": {Overlay{Layers: []string{"/nonexistent"}, Dir: dir}, "/nonexistent"},
		"missing dir":   {Overlay{Layers: []string{"/usr"}, Dir: "/nonexistent"}, "/nonexistent"},
	} {
		if out, err := mounted(t, overlayArguments{Overlay: c.o}); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
