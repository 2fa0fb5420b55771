package launcher

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/userns"
)

// mountEtc mounts the container's /etc/hosts, /etc/hostname, /etc/resolv.conf, and
// /run/.containerenv, by which Podman marks a container, on the files of the root. A file on
// which the spec mounts something is left out.
//
// The mounts belong to the caller's mount namespace, and come into the container with the
// root. If they were in the spec, libcontainer's init would ask the launcher for each of
// them, which takes a tenth of a start. Only files that the spec's mounts would hide, as
// with `-v DIR:/etc`, are added to the spec.
func (c *Container) mountEtc(l *launched) error {
	spec := l.o.Spec
	files := l.etcFiles()
	dir, err := mountFiles(c.state.RunRoot)
	if err != nil {
		return &Error{Op: "mount the container's files", Err: err}
	}
	for _, target := range slices.Sorted(maps.Keys(files)) { // sorted, so that the same file fails each time
		data := files[target]
		if isMount(spec, target) {
			continue
		}
		file := filepath.Join(dir, path.Base(target))
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
		if c.ids != nil {
			if err := os.Chown(file, int(c.ids.IDs.First), int(c.ids.IDs.First)); err != nil {
				return err
			}
		}
		if target == etcHosts {
			l.hostsFile = file
		}
		l.etc = append(l.etc, etcFile{file, target, isMount(spec, path.Dir(target))})
		if isMount(spec, path.Dir(target)) {
			m := specs.Mount{Destination: target, Type: "bind", Source: file, Options: []string{"bind", "rprivate"}}
			if spec.Root.Readonly {
				m.Options = append(m.Options, "ro")
			}
			spec.Mounts = append(spec.Mounts, m)
			continue
		}
		if err := bindFile(file, spec.Root.Path, target, spec.Root.Readonly, c.ids); err != nil {
			return mountError(target, err)
		}
	}
	return nil
}

// etcFile is one of the files that mountEtc makes.
type etcFile struct {
	file, target string
	inMount      bool // the target is in a mount of the spec, and init mounts it there
}

// mountFiles mounts a small tmpfs for the container's files in the caller's mount namespace.
// It ends with that namespace, or when the container no longer uses its files. On disk,
// making and removing the files would cost writes to the journal; in the run root, which
// all of the host uses, a container could fill the file system.
func mountFiles(runRoot string) (dir string, err error) {
	dir = filepath.Join(runRoot, filesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	err = unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, filesOptions)
	return dir, os.NewSyscallError("mount", err)
}

const (
	filesDir     = ".files" // no container's name starts with a dot
	filesOptions = "mode=0700,size=16m,nr_inodes=16"
)

func isMount(spec *specs.Spec, target string) bool {
	return slices.ContainsFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == target })
}

// etcFiles returns the files that every container has, by their paths.
func (l *launched) etcFiles() map[string][]byte {
	hosts, resolv := l.network.Files()
	l.hostname = l.o.Spec.Hostname
	if !hasNamespace(l.o.Spec, specs.UTSNamespace) {
		l.hostname, _ = os.Hostname()
	}
	return map[string][]byte{
		etcHosts:     hosts,
		etcHostname:  []byte(l.hostname + "\n"),
		etcResolv:    resolv,
		containerEnv: nil, // only its presence counts (containers-common)
	}
}

const (
	etcHosts     = "/etc/hosts"
	etcHostname  = "/etc/hostname"
	etcResolv    = "/etc/resolv.conf"
	containerEnv = "/run/.containerenv"
)

// OwnFiles returns the paths of the files that are mounted for every container. Where the
// root has no such file, one is made for the mount.
func OwnFiles() []string { return []string{etcHosts, etcHostname, etcResolv, containerEnv} }

// addHosts adds lines to the container's /etc/hosts, unless the spec mounts something there.
func (l *launched) addHosts(lines string) error {
	if lines == "" || l.hostsFile == "" {
		return nil
	}
	l.hostLines = lines
	f, err := os.OpenFile(l.hostsFile, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(lines)
	return errors.Join(err, f.Close())
}

// hasNamespace reports whether the spec gives the container a namespace of a kind.
func hasNamespace(spec *specs.Spec, kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

func mountError(target string, err error) error {
	e := &Error{Op: "mount " + target, Err: err}
	if errors.Is(err, unix.ENOSYS) {
		e.Cause = CauseKernel
		return e
	}
	return hint.With(e, "the container's own file goes there: fix what the image has in its place")
}

// bindFile mounts a file onto a path in a root, which is followed as if root were
// "/", and made if it does not exist.
func bindFile(file, root, path string, readonly bool, ids *userns.Namespace) error {
	target, err := mountPoint(root, path)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := giveMade(root, path, ids); err != nil {
		return err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, file, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC) // Linux 5.2
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	if readonly {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil { // Linux 5.12
			return os.NewSyscallError("mount_setattr", err)
		}
	}
	err = unix.MoveMount(tree, "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return os.NewSyscallError("move_mount", err)
}

// mountPoint opens a file in a root for a mount. A missing file is made, empty; where path is
// a dangling link, it is made at the link's target.
func mountPoint(root, path string) (*os.File, error) {
	target, err := lookUpInRoot(root, path)
	if err == nil {
		if info, err := target.Stat(); err != nil || info.IsDir() {
			target.Close()
			return nil, cmp.Or(err, error(unix.EISDIR))
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		return target, err
	}
	if dir, err := lookUpInRoot(root, filepath.Dir(path)); err == nil {
		defer dir.Close()
		if file, err := makeFile(dir, filepath.Base(path)); err == nil {
			return file, nil
		}
	}
	full, err := securejoin.SecureJoin(root, path)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, full)
	if err != nil {
		return nil, err
	}
	handle, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	dir, err := pathrs.MkdirAllHandle(handle, filepath.Dir(rel), 0o755)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return makeFile(dir, filepath.Base(rel))
}

// makeFile makes an empty file where there is nothing, not even a link.
func makeFile(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make it: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// lookUpInRoot opens a path in a root with O_PATH, following links as if root were "/". It
// does what [pathrs.OpenInRoot] does, in fewer calls where openat2(2) gives the answer
// (Linux 5.6).
func lookUpInRoot(root, path string) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), path), nil
	case unix.ENOENT:
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return pathrs.OpenInRoot(root, path)
}
