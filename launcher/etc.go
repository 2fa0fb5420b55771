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

// mountEtc puts the container's /etc/hosts, /etc/hostname, /etc/resolv.conf, and
// Podman's mark of a container, /run/.containerenv, on top of the root's, except
// for those that a mount of the spec's takes the place of.
//
// The mounts belong to the caller's mount namespace, and come into the container
// with the root. In the spec libcontainer's init would ask the launcher for each of
// them: a tenth of a start. Only those that the spec's mounts would hide go there,
// as with `-v DIR:/etc`.
func (c *Container) mountEtc(l *launched) error {
	spec := l.o.Spec
	files := l.etcFiles()
	dir, err := mountFiles(c.state.RunRoot)
	if err != nil {
		return &Error{Op: "mount the container's files", Err: err}
	}
	for _, target := range slices.Sorted(maps.Keys(files)) { // so that an error is of the same one each time
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

// etcFile is a file of the container's own. If it is in a mount of the spec's, init mounts it.
type etcFile struct {
	file, target string
	inMount      bool
}

// mountFiles mounts a small tmpfs for the container's files in the caller's mount
// namespace, with which it goes away unless the container still has files of it. On disk
// a journal would see them come and go; in the run root, which they share with all of the
// host, a container could fill it. A name with a dot is no container's.
func mountFiles(runRoot string) (dir string, err error) {
	dir = filepath.Join(runRoot, filesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	err = unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, filesOptions)
	return dir, os.NewSyscallError("mount", err)
}

const (
	filesDir     = ".files"
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
		containerEnv: nil, // containers-common: its presence is what counts
	}
}

const (
	etcHosts     = "/etc/hosts"
	etcHostname  = "/etc/hostname"
	etcResolv    = "/etc/resolv.conf"
	containerEnv = "/run/.containerenv"
)

// OwnFiles returns the paths of the files that every container has of its own, mounted on
// what the root has there. Where the root has nothing they are made.
func OwnFiles() []string { return []string{etcHosts, etcHostname, etcResolv, containerEnv} }

// addHosts adds lines to the container's /etc/hosts, unless a mount of the spec's takes
// its place.
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

// hasNamespace reports whether the container has a namespace of its own.
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

// mountPoint opens a file in a root for a mount. Where there is none, an empty one
// is made, also where a link leads to that points nowhere.
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

// lookUpInRoot is [pathrs.OpenInRoot], which makes several calls more where openat2(2)
// alone answers (Linux 5.6): it opens a path with O_PATH, links followed as if root were
// "/".
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
