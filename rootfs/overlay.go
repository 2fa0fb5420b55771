package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/removeall"
)

// maxLayers is how many lower layers overlayfs takes (OVL_MAX_STACK in
// fs/overlayfs/super.c). Docker's limit is about 128.
const maxLayers = 500

// OverlayOptions are the last options of an overlay that Mount mounts, except before Linux
// 5.10 and in a user namespace.
const (
	OverlayOptions = overlayOptions + volatile

	overlayOptions = ",index=off,metacopy=off"
	volatile       = ",volatile"
)

// Overlay is a copy-on-write root: read-only layers below a directory that receives
// what the container writes.
type Overlay struct {
	Layers []string // directories, lowest first, as in Image
	Dir    string   // the container's own directory: upper, work and root are made in it
	Root   string   // where to mount it, a directory that exists; "" is Dir/root
	// Users is a user namespace by which the owners of the layers are mapped: a file of
	// user 0 in a layer belongs to user 0 of that namespace in the root, and so on. The
	// layers do not change. nil maps nothing.
	Users *os.File
}

// Mount mounts the overlay and returns the path of the root.
//
// The caller's thread must be in a mount namespace of its own with private
// propagation, or the mount appears on the host. unshare(2) has then given it a
// working directory of its own, which Mount changes and restores. The paths of Layers
// and Dir may have any characters. Dir may lie in a layer, for example if the layer is
// the host's root: because overlayfs refuses that (ELOOP), what the container writes
// then goes to a tmpfs, that is, to memory.
//
// The upper directory is removed with the container, so it is mounted volatile if
// the kernel can (Linux 5.10): sync(2) inside does not wait for the disk.
//
// After an error nothing is left mounted.
func (o Overlay) Mount() (root string, err error) {
	if len(o.Layers) == 0 || len(o.Layers) > maxLayers {
		return "", fmt.Errorf("mount root: %d layers; overlayfs takes 1 to %d", len(o.Layers), maxLayers)
	}
	root = o.root()
	if o.Root == "" {
		if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	err = o.mountWithUpper(o.Dir)
	if errors.Is(err, unix.ELOOP) {
		err = o.mountOnTmpfs()
	}
	if err != nil {
		return "", o.mountError(err)
	}
	return root, nil
}

// MountAgain is Mount for an overlay that was mounted before and is not mounted now. A
// volatile mount leaves a mark that keeps it from being mounted again, since after a crash
// the upper directory may not be complete (Linux, Documentation/filesystems/overlayfs.rst,
// "Volatile mount"). MountAgain removes the mark: the machine has not crashed meanwhile, or
// the caller accepts what is lost.
func (o Overlay) MountAgain() (root string, err error) {
	if err := removeall.Remove(filepath.Join(o.Dir, "work")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return o.Mount()
}

// Unmount unmounts what Mount mounted. It does so at once, even while files in the
// root are open. Call it before removing Dir, which would otherwise walk the whole
// root through the overlay.
func (o Overlay) Unmount() error {
	err := unix.Unmount(o.root(), unix.MNT_DETACH)
	// ENOENT or EINVAL: there is no tmpfs, the usual case.
	memory := unix.Unmount(o.memory(), unix.MNT_DETACH)
	if err == nil && !errors.Is(memory, unix.EINVAL) && !errors.Is(memory, unix.ENOENT) {
		err = memory
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", o.root(), err)
	}
	return nil
}

// Mounts returns the mount points that Unmount unmounts.
func (o Overlay) Mounts() []string { return []string{o.root(), o.memory()} }

func (o Overlay) root() string   { return cmp.Or(o.Root, filepath.Join(o.Dir, "root")) }
func (o Overlay) upper() string  { return filepath.Join(o.Dir, "upper") }
func (o Overlay) memory() string { return filepath.Join(o.Dir, "memory") }

func (o Overlay) mountOnTmpfs() error {
	if err := os.Mkdir(o.memory(), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Mount("tmpfs", o.memory(), "tmpfs", 0, "mode=0700"); err != nil {
		return &os.PathError{Op: "mount tmpfs", Path: o.memory(), Err: err}
	}
	err := o.mountWithUpper(o.memory())
	if err != nil {
		_ = unix.Unmount(o.memory(), unix.MNT_DETACH)
	}
	return err
}

// mountWithUpper mounts with dir/upper and dir/work. The directories are passed by
// descriptor, so that no character of a path is taken for a separator.
func (o Overlay) mountWithUpper(dir string) error {
	var open openDirs
	defer open.close()
	lower := make([]string, 0, len(o.Layers))
	for i := len(o.Layers) - 1; i >= 0; i-- { // overlayfs wants the highest first
		lower = append(lower, open.addLayer(o.Layers[i], o.Users))
	}
	if open.err != nil {
		return open.err
	}
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := makeUpper(upper, o.Layers[len(o.Layers)-1], lower[0]); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	data := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + open.add(upper) + ",workdir=" + open.add(work) + overlayOptions
	if userns.RunningInUserNS() {
		data += ",userxattr" // Linux 5.11
	}
	if open.err != nil {
		return open.err
	}
	return open.within(func() error { return mountOverlay(o.root(), data) })
}

func mountOverlay(root, data string) error {
	err := unix.Mount("overlay", root, "overlay", 0, data+volatile)
	if errors.Is(err, unix.EINVAL) { // Linux before 5.10
		err = unix.Mount("overlay", root, "overlay", 0, data)
	}
	if err != nil {
		return &os.PathError{Op: "mount overlay", Path: root, Err: err}
	}
	return nil
}

// makeUpper makes the upper directory. It is the root directory that the container sees, so
// it gets the mode and owner of the highest layer, which is open as descriptor number.
func makeUpper(upper, highest, number string) error {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/fd/"+number, &st); err != nil {
		return &os.PathError{Op: "stat", Path: highest, Err: err}
	}
	if err := os.Mkdir(upper, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Chown(upper, int(st.Uid), int(st.Gid)); errors.Is(err, unix.EINVAL) && userns.RunningInUserNS() {
		return fmt.Errorf("%s belongs to a user or a group that you do not have", highest)
	} else if err != nil {
		return err
	}
	if err := unix.Chmod(upper, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: upper, Err: err}
	}
	return nil
}

// mountError returns the error of a mount that the kernel refused.
func (o Overlay) mountError(err error) error {
	e := &Error{Op: "mount root", Err: err}
	if hint.Text(err) != "" {
		return hint.With(e, hint.Text(err))
	}
	var st unix.Statfs_t
	switch {
	case errors.Is(err, unix.ENODEV):
		return hint.With(e, "the kernel has no overlayfs; try 'modprobe overlay'")
	case errors.Is(err, unix.EPERM):
		return hint.With(e, "mounting needs root, and inside a container its CAP_SYS_ADMIN")
	case !errors.Is(err, unix.EINVAL):
	case o.Users != nil && !mappedLayers():
		return hint.With(e, "layers of an overlay have mapped owners from Linux 5.19 on")
	case unix.Statfs(o.Dir, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC:
		e.Cause, e.Name = CauseOnOverlay, o.Dir
	default:
		e.Cause, e.Name = CauseFileSystem, o.Dir
	}
	return e
}

// openDirs keeps directories open. Each has a short name, valid in /proc/self/fd:
// the data of mount(2) is one page, and a layer takes 4 bytes of it.
type openDirs struct {
	files []int
	err   error
}

func (f *openDirs) add(path string) string {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		if f.err == nil {
			f.err = &os.PathError{Op: "open", Path: path, Err: err}
		}
		return ""
	}
	f.files = append(f.files, fd)
	return strconv.Itoa(fd)
}

// within calls mount while /proc/self/fd is the thread's working directory.
func (f *openDirs) within(mount func() error) error {
	before, err := unix.Open(".", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: ".", Err: err}
	}
	defer unix.Close(before)
	const descriptors = "/proc/self/fd"
	if err := unix.Chdir(descriptors); err != nil {
		return &os.PathError{Op: "chdir", Path: descriptors, Err: err}
	}
	err = mount()
	if back := unix.Fchdir(before); err == nil && back != nil {
		err = fmt.Errorf("return to the working directory: %w", back)
	}
	return err
}

func (f *openDirs) close() {
	for _, fd := range f.files {
		_ = unix.Close(fd)
	}
}
