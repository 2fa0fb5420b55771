package launcher

import (
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
)

// Obstacle is what is known of the path that a refused call named.
type Obstacle struct {
	Kind   ObstacleKind
	Path   string // in the container
	Volume bool   // of a ReadOnlyMount: a flag asked for it
	Device string // of a DeviceNode its type and numbers, as --device-cgroup-rule takes them
}

// obstacle finds what the container's description says of a path. It follows no links.
func obstacle(s *specs.Spec, file string, errno unix.Errno) Obstacle {
	under := func(dir string) bool { return file == dir || strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/") }
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
	var nearest *specs.Mount
	for i, m := range s.Mounts { // a later one covers an earlier one
		if under(m.Destination) && (nearest == nil || len(path.Clean(m.Destination)) >= len(path.Clean(nearest.Destination))) {
			nearest = &s.Mounts[i]
		}
	}
	switch {
	case nearest != nil && (slices.Contains(nearest.Options, "ro") || slices.Contains(nearest.Options, "rro")):
		return Obstacle{Kind: ReadOnlyMount, Path: nearest.Destination, Volume: nearest.Type == "bind"}
	case nearest == nil && s.Root != nil && s.Root.Readonly:
		return Obstacle{Kind: ReadOnlyRoot, Path: "/"}
	}
	return Obstacle{}
}

// obstacle adds to r what is known of the paths that the call named.
func (l *watcher) obstacle(r *Refused) {
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
		if r.Obstacle = obstacle(l.spec, file, r.Errno); r.Obstacle.Kind != NoObstacle {
			return
		}
		if r.Errno != unix.EPERM || r.Asked != 0 {
			continue
		}
		if device := l.device(file); device != "" {
			r.Obstacle = Obstacle{Kind: DeviceNode, Path: file, Device: device}
			return
		}
	}
}

// device returns the type and numbers of the device that a path in the container is, or
// "". A look-up can take as long as a file system of the container likes (FUSE), so it has
// a time limit.
func (l *watcher) device(file string) (found string) {
	l.reader.limited(time.Second, func() func() { // the caller does not wait
		device := deviceAt(l.root, file)
		return func() { found = device }
	})
	return found
}

func deviceAt(root *os.File, file string) string {
	f, err := pathrs.OpenatInRoot(root, file) // with O_PATH: no device is opened
	if err != nil {
		return ""
	}
	defer f.Close()
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return ""
	}
	kind := ""
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		kind = "b"
	case unix.S_IFCHR:
		kind = "c"
	default:
		return ""
	}
	return fmt.Sprintf("%s %d:%d", kind, unix.Major(s.Rdev), unix.Minor(s.Rdev))
}
