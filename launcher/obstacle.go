package launcher

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
)

// ObstacleKind is a reason beside the filter and the capabilities why a call is refused.
type ObstacleKind int

// The kinds of obstacles.
const (
	NoObstacle    ObstacleKind = iota
	MaskedPath                 // Path is masked: --security-opt systempaths=unconfined
	ReadOnlyPath               // Path is read-only, as some of /proc are
	ReadOnlyMount              // what is mounted on Path is read-only
	ReadOnlyRoot               // --read-only
	DeviceNode                 // Path is a device, and the cgroup does not allow it
	NoDevices                  // Path is a device, and its file system is mounted nodev
	NoExecutables              // the file system of Path is mounted noexec
	NotExecutable              // Path is a file that nobody may execute
	Unbounded                  // Path is a file with capabilities that the container does not have
	Immutable                  // Path is immutable or append-only (ioctl_iflags(2))
)

// Obstacle is what is known of the path that a refused call named.
type Obstacle struct {
	Kind   ObstacleKind
	Path   string // in the container
	Mount  string // of NoDevices and NoExecutables: where a mount that a flag may have asked for is, or ""
	Volume bool   // of a ReadOnlyMount: a flag asked for it
	Device string // of a DeviceNode its type and numbers, as --device-cgroup-rule takes them
	Lacks  uint64 // of Unbounded a bit for each such capability, by its number in capabilities(7)
}

// obstacle finds what the container's description says of a path. It follows no links.
func obstacle(s *specs.Spec, file string, errno unix.Errno) Obstacle {
	under := func(dir string) bool { return isUnder(file, dir) }
	if s.Linux != nil {
		if i := slices.IndexFunc(s.Linux.MaskedPaths, under); i >= 0 {
			return Obstacle{Kind: MaskedPath, Path: s.Linux.MaskedPaths[i]}
		}
	}
	if errno != unix.EROFS {
		return Obstacle{}
	}
	if s.Linux != nil {
		if i := slices.IndexFunc(s.Linux.ReadonlyPaths, under); i >= 0 {
			return Obstacle{Kind: ReadOnlyPath, Path: s.Linux.ReadonlyPaths[i]}
		}
	}
	nearest := nearestMount(s, file)
	switch {
	case nearest != nil && (slices.Contains(nearest.Options, "ro") || slices.Contains(nearest.Options, "rro")):
		return Obstacle{Kind: ReadOnlyMount, Path: nearest.Destination, Volume: nearest.Type == "bind"}
	case nearest == nil && s.Root != nil && s.Root.Readonly:
		return Obstacle{Kind: ReadOnlyRoot, Path: "/"}
	}
	return Obstacle{}
}

// nearestMount returns the mount that a path is on, or nil.
func nearestMount(s *specs.Spec, file string) (nearest *specs.Mount) {
	for i, m := range s.Mounts { // a later one covers an earlier one
		if isUnder(file, m.Destination) && (nearest == nil || len(path.Clean(m.Destination)) >= len(path.Clean(nearest.Destination))) {
			nearest = &s.Mounts[i]
		}
	}
	return nearest
}

func isUnder(file, dir string) bool {
	return file == dir || strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/")
}

// obstacle finds what is known of the paths that a call named.
func (l *watcher) obstacle(r *Refused) Obstacle {
	executes, asked := l.Executes(r.Notification), r.Asked
	if executes {
		asked &^= 1 << unix.CAP_SYS_ADMIN // for memory that is kept for root (cap_vm_enough_memory of security/commoncap.c)
	}
	for _, text := range r.Texts {
		if text == nil || text.Cut || text.Text == "" {
			continue
		}
		file := text.Text
		if !path.IsAbs(file) {
			dir, err := os.Readlink("/proc/" + strconv.Itoa(r.Denied.TID) + "/cwd")
			if err != nil {
				continue
			}
			file = path.Join(dir, file)
		}
		file = path.Clean(file)
		if o := obstacle(l.spec, file, r.Errno); o.Kind != NoObstacle {
			return o
		}
		if asked != 0 || r.Errno == unix.EROFS {
			continue
		}
		o := l.look(file, r.Errno, executes)
		if o.Kind == NoObstacle {
			continue
		}
		if m := nearestMount(l.spec, file); m != nil {
			o.Mount = m.Destination
		}
		return o
	}
	return Obstacle{}
}

// look looks for an obstacle at a path in the container. A look-up can take as long as a file
// system of the container likes (FUSE), so it has a time limit.
func (l *watcher) look(file string, errno unix.Errno, executes bool) (found Obstacle) {
	l.reader.limited(time.Second, func() func() { // the caller does not wait
		o := obstacleAt(l.root, file, errno, executes)
		return func() { found = o }
	})
	if found.Kind == Unbounded {
		found.Lacks &= 1<<len(capname.All()) - 1 // the kernel ignores others
		if found.Lacks &^= boundingSet(l.spec); found.Lacks == 0 {
			return Obstacle{} // the process itself has given them up
		}
	}
	return found
}

// boundingSet returns a bit for each capability that a process of the container can have.
func boundingSet(s *specs.Spec) (set uint64) {
	if s.Process == nil || s.Process.Capabilities == nil {
		return 0
	}
	for number, name := range capname.All() {
		if slices.Contains(s.Process.Capabilities.Bounding, name) {
			set |= 1 << number
		}
	}
	return set
}

// obstacleAt looks at a file, and at its directory.
func obstacleAt(root *os.File, file string, errno unix.Errno, executes bool) Obstacle {
	o := obstacleOf(root, file, errno, executes)
	if dir := path.Dir(file); o.Kind == NoObstacle && errno == unix.EPERM {
		if o := obstacleOf(root, dir, errno, false); o.Kind == Immutable {
			return o
		}
	}
	return o
}

// obstacleOf looks at one of them.
func obstacleOf(root *os.File, file string, errno unix.Errno, executes bool) Obstacle {
	f, err := pathrs.OpenatInRoot(root, file) // with O_PATH: no device is opened
	if err != nil {
		return Obstacle{}
	}
	defer f.Close()
	var s unix.Stat_t
	var fs unix.Statfs_t
	var x unix.Statx_t
	if errors.Join(unix.Fstat(int(f.Fd()), &s), unix.Fstatfs(int(f.Fd()), &fs), unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, 0, &x)) != nil {
		return Obstacle{}
	}
	device := map[uint32]string{unix.S_IFBLK: "b", unix.S_IFCHR: "c"}[s.Mode&unix.S_IFMT]
	regular := s.Mode&unix.S_IFMT == unix.S_IFREG
	switch {
	case device != "" && errno == unix.EPERM:
		return Obstacle{Kind: DeviceNode, Path: file, Device: fmt.Sprintf("%s %d:%d", device, unix.Major(s.Rdev), unix.Minor(s.Rdev))}
	case device != "" && errno == unix.EACCES && fs.Flags&unix.ST_NODEV != 0:
		return Obstacle{Kind: NoDevices, Path: file}
	case regular && errno == unix.EACCES && executes && fs.Flags&unix.ST_NOEXEC != 0:
		return Obstacle{Kind: NoExecutables, Path: file}
	case regular && errno == unix.EACCES && executes && s.Mode&0o111 == 0:
		return Obstacle{Kind: NotExecutable, Path: file}
	case errno == unix.EPERM && x.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0:
		return Obstacle{Kind: Immutable, Path: file}
	case regular && errno == unix.EPERM && executes:
		if lacks := capabilitiesOf(int(f.Fd())); lacks != 0 {
			return Obstacle{Kind: Unbounded, Path: file, Lacks: lacks}
		}
	}
	return Obstacle{}
}
