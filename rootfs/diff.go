package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Change is a path in which a container's root differs from its layers, as `docker diff`
// lists it. A directory in which something has changed has changed too.
type Change struct {
	Kind ChangeKind
	Path string // absolute
}

// ChangeKind is the letter that stands for a change.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "A"
	Changed ChangeKind = "C"
	Deleted ChangeKind = "D"
)

// Diff returns what a container has changed in the overlay, sorted by path. It leaves out
// what is below the directories aside, and these directories themselves if they are new.
// The overlay need not be mounted. While it is, a change that is just being made may be
// missed. The error is [ErrInMemory] if the changes are not on disk.
func (o Overlay) Diff(aside []string) ([]Change, error) {
	if _, err := os.Lstat(o.memory()); err == nil {
		return nil, ErrInMemory
	}
	upper, err := os.OpenRoot(o.upper())
	if errors.Is(err, os.ErrNotExist) { // it has never been mounted
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer upper.Close()
	lower, err := openView(o.Layers)
	if err != nil {
		return nil, err
	}
	defer lower.close()
	root, err := lower.walk("/")
	if err != nil {
		return nil, err
	}
	d := differ{aside: aside}
	if err := d.shiftBetween(lower[0], upper); err != nil {
		return nil, err
	}
	if err := d.directory(layerDir{upper, "."}, root); err != nil {
		return nil, fmt.Errorf("compare with the layers: %w", err)
	}
	slices.SortFunc(d.changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return d.changes, nil
}

// ErrInMemory reports that what a container has written is on a tmpfs that only the
// container can reach, because its image is the host's root (see [Overlay.Mount]).
var ErrInMemory = errors.New("what the container has written is in memory")

type differ struct {
	aside      []string
	uids, gids int // how much higher the owners are in upper than in the layers; 0 unless the container has users of its own
	changes    []Change
}

// shiftBetween finds out how much higher the owners are in upper than in the layers. It
// compares the root directories: that of upper has its owner from the highest layer.
func (d *differ) shiftBetween(highest, upper *os.Root) error {
	from, err := highest.Stat(".")
	if err != nil {
		return err
	}
	to, err := upper.Stat(".")
	if err != nil {
		return err
	}
	f, t := from.Sys().(*syscall.Stat_t), to.Sys().(*syscall.Stat_t)
	if t.Uid >= firstOwnID && f.Uid < firstOwnID {
		d.uids, d.gids = int(t.Uid)-int(f.Uid), int(t.Gid)-int(f.Gid)
	}
	return nil
}

// firstOwnID separates the owners of images, which are lower, from the users that a
// container has of its own.
const firstOwnID = 1 << 16

// directory adds the changes in a directory of upper. lower is what the layers have at this
// path; it is empty if that is no directory.
func (d *differ) directory(dir layerDir, lower treeNode) error {
	entries, err := dir.readDir()
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, entry := range entries {
		names[entry.Name()] = true
		if err := d.entry(dir, entry, lower); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // the container has removed or replaced it meanwhile
		} else if err != nil {
			return err
		}
	}
	if !dir.opaque() {
		return nil
	}
	hidden, err := lower.names("")
	for name := range hidden {
		if !names[name] {
			d.add(Deleted, path.Join(dir.path, name))
		}
	}
	return err
}

// entry adds the changes of a file of upper and of everything below it.
func (d *differ) entry(dir layerDir, entry fs.FileInfo, parent treeNode) error {
	at := layerDir{dir.root, path.Join(dir.path, entry.Name())}
	old, err := lookup(parent, entry.Name())
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	aside := slices.Contains(d.aside, path.Join("/", at.path))
	kind := ChangeKind("")
	switch {
	case isWhiteout(entry) && missing, aside && missing:
		return nil
	case isWhiteout(entry):
		kind = Deleted
	case missing:
		kind = Added
	default:
		different, err := d.differs(at, entry, old)
		if err != nil {
			return err
		}
		if different {
			kind = Changed
		}
	}
	before := len(d.changes)
	if entry.IsDir() && !aside {
		if err := d.directory(at, old); err != nil {
			return err
		}
	}
	if kind == "" && len(d.changes) > before {
		kind = Changed
	}
	if kind != "" {
		d.add(kind, at.path)
	}
	return nil
}

func (d *differ) add(kind ChangeKind, name string) {
	d.changes = append(d.changes, Change{kind, path.Join("/", name)})
}

// differs reports whether a file of upper differs from that of the layers in what Docker
// compares: the type, mode, owner, device number and capabilities, and except for
// directories the size and the time of the last change.
func (d *differ) differs(at layerDir, now fs.FileInfo, old treeNode) (bool, error) {
	a, b := now.Sys().(*syscall.Stat_t), old.info.Sys().(*syscall.Stat_t)
	if a.Mode != b.Mode || a.Rdev != b.Rdev || int(a.Uid) != int(b.Uid)+d.uids || int(a.Gid) != int(b.Gid)+d.gids {
		return true, nil
	}
	if !now.IsDir() && (now.Size() != old.info.Size() || !now.ModTime().Equal(old.info.ModTime())) {
		return true, nil
	}
	if !now.Mode().IsRegular() {
		return false, nil
	}
	mine, err := at.capability()
	if err != nil {
		return false, err
	}
	theirs, err := old.at.capability()
	return mine != theirs, err
}

// capability returns the attribute with the capabilities of an executable
// (capabilities(7)).
func (d layerDir) capability() (string, error) {
	f, err := d.root.OpenFile(d.path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	value := make([]byte, 64)
	n, err := unix.Fgetxattr(int(f.Fd()), "security.capability", value)
	if err != nil {
		return "", nil // it has none
	}
	return string(value[:n]), nil
}
