package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is the directory that a layer is unpacked into. Names in it are resolved as in
// a chroot: absolute symbolic links start at its root. A relative link that leads out
// of it is an error.
//
// All calls are relative to descriptors and follow no link in the last component.
type tree struct {
	root int                             // descriptor of the directory
	room func(bytes, nodes uint64) error // claims space for directories that no entry makes
	at   string                          // name of the directory that dir is, or ""
	dir  int                             // descriptor that parent returned last, or -1
}

// openTree opens a directory. The caller closes the tree.
func openTree(dir string, room func(bytes, nodes uint64) error) (*tree, error) {
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &tree{root: root, room: room, dir: -1}, nil
}

func (t *tree) close() {
	t.closeParent()
	_ = unix.Close(t.root)
}

func (t *tree) closeParent() {
	if t.dir >= 0 {
		_ = unix.Close(t.dir)
	}
	t.at, t.dir = "", -1
}

// forget makes parent resolve the next name anew, because something was removed. The
// last descriptor stays open until then.
func (t *tree) forget() { t.at = "" }

// split returns the directory of a clean name, "" for the root, and its last component.
func split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// parent returns a descriptor of the directory that contains name, and the last
// component of name. It makes directories that do not exist, with mode 0755. The
// descriptor is valid until the next call. A whiteout on the way is replaced, if over is
// true, by an opaque directory.
func (t *tree) parent(name string, over bool) (fd int, base string, err error) {
	dir, base := split(name)
	if dir == "" {
		return t.root, base, nil
	}
	if dir == t.at {
		return t.dir, base, nil
	}
	fd, err = t.resolve(walker{tree: t, name: dir, make: true, over: over})
	if err != nil {
		return -1, "", err
	}
	t.closeParent()
	t.at, t.dir = dir, fd
	return fd, base, nil
}

// open opens a directory with O_PATH. If make is true, it makes what does not exist.
func (t *tree) open(name string, make bool) (int, error) {
	return t.resolve(walker{tree: t, name: name, make: make})
}

func (t *tree) resolve(w walker) (int, error) {
	// The usual case takes one call. It fails for links that lead out, absolute ones
	// too, for what does not exist, and on Linux before 5.6.
	fd, err := openat2(t.root, w.name, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		return fd, nil
	}
	return w.walk()
}

func openat2(dir int, name string, flags uint64) (int, error) {
	return unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// walker resolves a name component by component.
type walker struct {
	tree     *tree
	name     string
	make     bool
	over     bool // whiteouts are replaced by opaque directories
	fd       int  // of the directory where the walk is
	depth    int  // its distance from the root
	links    int  // that were followed
	absolute bool // one of them was absolute
}

func (w *walker) walk() (int, error) {
	if err := w.restart(); err != nil {
		return -1, err
	}
	rest := strings.Split(w.name, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		link, err := w.step(part)
		if err == nil && link != "" {
			if strings.HasPrefix(link, "/") {
				w.absolute = true
				_ = unix.Close(w.fd)
				err = w.restart()
			}
			rest = append(strings.Split(link, "/"), rest...)
		}
		if err != nil {
			_ = unix.Close(w.fd)
			return -1, fmt.Errorf("%s: %w", quote(w.name), err)
		}
	}
	return w.fd, nil
}

// restart goes to the root.
func (w *walker) restart() (err error) {
	w.depth = 0
	w.fd, err = unix.FcntlInt(uintptr(w.tree.root), unix.F_DUPFD_CLOEXEC, 0)
	return err
}

var errEscapes = errors.New("a symbolic link leads out of the root")

// step enters a directory, or returns the target of a symbolic link.
func (w *walker) step(part string) (link string, err error) {
	switch {
	case part == "" || part == ".":
		return "", nil
	case part == ".." && w.depth == 0 && w.absolute:
		return "", nil // as in a chroot
	case part == ".." && w.depth == 0:
		return "", errEscapes
	}
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	next, err := unix.Openat(w.fd, part, flags, 0)
	if errors.Is(err, unix.ENOENT) && w.make {
		if err = w.makeDirectory(part); err == nil {
			next, err = unix.Openat(w.fd, part, flags, 0)
		}
	}
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err = unix.Fstat(next, &st); err == nil {
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			_ = unix.Close(w.fd)
			w.fd = next
			if w.depth++; part == ".." {
				w.depth -= 2
			}
			return "", nil
		case unix.S_IFLNK:
			link, err = readlink(next)
			if w.links++; w.links > maxLinks {
				err = unix.ELOOP
			}
		case unix.S_IFCHR:
			err = unix.ENOTDIR
			if st.Rdev == 0 {
				_ = unix.Close(next)
				return w.whiteout(part)
			}
		default:
			err = unix.ENOTDIR
		}
	}
	_ = unix.Close(next)
	return link, err
}

// errWhiteout reports that a directory is hidden by a whiteout of the same layer.
var errWhiteout = fmt.Errorf("%w: it is a whiteout", unix.ENOTDIR)

// whiteout replaces a whiteout by an opaque directory, which hides what is below it as
// well, and enters it.
func (w *walker) whiteout(name string) (link string, err error) {
	if !w.over {
		return "", errWhiteout
	}
	if err := unix.Unlinkat(w.fd, name, 0); err != nil {
		return "", err
	}
	if err := w.makeDirectory(name); err != nil {
		return "", err
	}
	if err := w.tree.makeOpaque(w.fd, name); err != nil {
		return "", err
	}
	return w.step(name)
}

// makeOpaque marks a directory of an open directory as opaque: what lower layers have
// there is hidden.
func (t *tree) makeOpaque(dir int, name string) error {
	if err := t.room(blockSize, 1); err != nil { // tmpfs counts attributes as inodes since Linux 6.6
		return err
	}
	// The call takes a path only. The thread's working directory is its own.
	if err := unix.Fchdir(dir); err != nil {
		return err
	}
	return unix.Lsetxattr(name, overlayPrefix()+"opaque", []byte("y"), 0)
}

// makeDirectory makes a directory that no entry has made yet.
func (w *walker) makeDirectory(name string) error {
	if err := w.tree.room(2*blockSize, 1); err != nil {
		return err
	}
	if err := unix.Mkdirat(w.fd, name, 0o755); err != nil {
		return err
	}
	return unix.Fchmodat(w.fd, name, 0o755, 0) // whatever the umask, and a default ACL
}

// readlink returns the target of a symbolic link that is open with O_PATH.
func readlink(fd int) (string, error) {
	buffer := make([]byte, maxName+1)
	n, err := unix.Readlinkat(fd, "", buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}
