package launcher

import (
	"os"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/userns"
)

// MountVolumes mounts each of these directories of a root, the image's VOLUMEs, on itself.
// They keep the image's content, and stay writable when the root itself is read-only;
// what is written is removed with the root. Links in a path are followed as if root were
// "/", and missing directories are made, owned by the root of ids unless that is nil.
//
// The mounts are made in the caller's mount namespace; see [PrivateMounts]. In paths,
// parents must come before children.
func MountVolumes(root string, paths []string, ids *userns.Namespace) error {
	for _, path := range paths {
		if err := mountVolume(root, path, ids); err != nil {
			return &VolumeError{path, err}
		}
	}
	return nil
}

// VolumeError says that a volume of the image cannot be mounted. The user can mount
// something at the same path instead.
type VolumeError struct {
	Path string // in the container
	Err  error
}

func (e *VolumeError) Error() string {
	return "mount the image's volume " + e.Path + ": " + e.Err.Error()
}

func (e *VolumeError) Unwrap() error { return e.Err }

func mountVolume(root, path string, ids *userns.Namespace) error {
	handle, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer handle.Close()
	dir, err := pathrs.MkdirAllHandle(handle, path, 0o755)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := giveMade(root, path, ids); err != nil {
		return err
	}
	tree, err := unix.OpenTree(int(dir.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH) // Linux 5.2
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	err = unix.MoveMount(tree, "", int(dir.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return os.NewSyscallError("move_mount", err)
}
