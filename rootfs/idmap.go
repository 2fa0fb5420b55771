package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/kernel"
)

// addLayer is add for a layer, whose owners are mapped unless users is nil. The mapped
// layer is mounted, read-only, on top of the layer in the calling thread's mount namespace:
// overlayfs refuses a mount that is attached nowhere.
func (f *openDirs) addLayer(path string, users *os.File) string {
	name := f.add(path)
	if users == nil || f.err != nil {
		return name
	}
	tree, err := mapped(f.files[len(f.files)-1], users)
	if err != nil {
		f.err = fmt.Errorf("map the owners of %s: %w", path, err)
		return ""
	}
	f.files = append(f.files, tree)
	return strconv.Itoa(tree)
}

// mapped mounts a directory on itself, with mapped owners (Linux 5.12). It returns a
// descriptor of the mount.
func mapped(dir int, users *os.File) (tree int, err error) {
	tree, err = unix.OpenTree(dir, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, os.NewSyscallError("open_tree", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY, Userns_fd: uint64(users.Fd()), Propagation: unix.MS_PRIVATE}
	if err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		err = idmapError(tree, err)
	} else {
		err = os.NewSyscallError("move_mount", unix.MoveMount(tree, "", dir, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
	}
	if err != nil {
		unix.Close(tree)
		return -1, err
	}
	return tree, nil
}

// idmapError returns the error for owners that cannot be mapped (mount_setattr(2)).
func idmapError(tree int, err error) error {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return hint.New("this kernel has no mount_setattr(2)", "run Linux 5.19 or later")
	case errors.Is(err, unix.EINVAL):
		var st unix.Statfs_t
		_ = unix.Fstatfs(tree, &st)
		return hint.New(fmt.Sprintf("its file system (type %#x) maps none", st.Type), "keep images on ext4, xfs or btrfs with --root; tmpfs needs Linux 6.3")
	}
	return os.NewSyscallError("mount_setattr", err)
}

// mappedLayers reports whether overlayfs takes layers with mapped owners.
func mappedLayers() bool {
	major, minor, err := kernel.Version()
	return err != nil || major > 5 || major == 5 && minor >= 19
}

// CheckIDMap returns an error if the owners of files in a directory cannot be mapped. It
// changes nothing.
func CheckIDMap(dir string, users *os.File) error {
	if !mappedLayers() {
		return hint.New("overlayfs takes no mapped layers", "run Linux 5.19 or later")
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return idmapError(tree, err)
	}
	return nil
}
