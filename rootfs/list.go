package rootfs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Stored returns the image that ref means if the store has it, and nil otherwise. It
// fetches and unpacks nothing. The caller closes the image.
func (s *Store) Stored(ref string) (*Image, error) {
	r, err := newRequest(ref, ResolveOptions{})
	if err != nil {
		return nil, err
	}
	x, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	d, err := x.find(r)
	if d == nil || err != nil {
		return nil, err
	}
	return s.open(d)
}

// Entry is a name in a directory of an image.
type Entry struct {
	Name string
	Mode fs.FileMode // of the target of a symbolic link; of the link itself if the target does not exist
}

// List returns the entries of dir whose names begin with prefix, sorted, as a
// container would see them, without mounting anything. Symbolic links are resolved
// inside the image. A directory that does not exist is an error.
func (i *Image) List(dir, prefix string) ([]Entry, error) {
	v, err := openView(i.Layers)
	if err != nil {
		return nil, err
	}
	defer v.close()
	found, err := v.walk(dir)
	switch {
	case err != nil:
		return nil, err
	case !found.mode.IsDir():
		return nil, &fs.PathError{Op: "list", Path: dir, Err: syscall.ENOTDIR}
	}
	modes, err := found.names(prefix)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, name := range slices.Sorted(maps.Keys(modes)) {
		mode := modes[name]
		if mode&fs.ModeSymlink != 0 {
			if target, err := v.walk(path.Join(dir, name)); err == nil {
				mode = target.mode
			}
		}
		entries = append(entries, Entry{name, mode})
	}
	return entries, nil
}

// names returns the names in a directory that begin with prefix, links not
// followed.
func (n treeNode) names(prefix string) (map[string]fs.FileMode, error) {
	modes, seen := map[string]fs.FileMode{}, map[string]bool{}
	for _, in := range n.in {
		infos, err := in.readDir()
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			name := info.Name()
			if !strings.HasPrefix(name, prefix) || seen[name] {
				continue
			}
			seen[name] = true // hidden in the layers below
			if !isWhiteout(info) {
				modes[name] = info.Mode()
			}
		}
	}
	return modes, nil
}

// view is the layers of an image, the highest first. Each is read through an
// os.Root, so nothing outside of it is ever opened, whatever links it has.
type view []*os.Root

func openView(layers []string) (v view, err error) {
	for _, dir := range slices.Backward(layers) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			v.close()
			return nil, err
		}
		v = append(v, root)
	}
	return v, nil
}

func (v view) close() {
	for _, root := range v {
		_ = root.Close()
	}
}

// layerDir is a directory of one layer, by a path without links.
type layerDir struct {
	root *os.Root
	path string
}

// open opens the directory. A container may have put something else in its place, such as
// a FIFO, whose opening would wait.
func (d layerDir) open() (*os.File, error) {
	return d.root.OpenFile(d.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
}

func (d layerDir) readDir() ([]fs.FileInfo, error) {
	f, err := d.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdir(-1)
}

// opaque reports whether the directory hides those of the layers below.
func (d layerDir) opaque() bool {
	f, err := d.open()
	if err != nil {
		return false
	}
	defer f.Close()
	var value [1]byte
	n, err := unix.Fgetxattr(int(f.Fd()), overlayPrefix()+"opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// treeNode is the file that a path leads to. If it is a directory, in has the
// directories of the layers that are merged into it.
type treeNode struct {
	mode fs.FileMode
	info fs.FileInfo // of the highest layer; nil for the root
	at   layerDir    // there
	in   []layerDir
	link string // of a symbolic link
}

// maxLinks is how many links one path may follow, as in the kernel.
const maxLinks = 40

// walk follows name from the root, component by component.
func (v view) walk(name string) (treeNode, error) {
	root := treeNode{mode: fs.ModeDir}
	for _, r := range v {
		root.in = append(root.in, layerDir{r, "."})
	}
	stack := []treeNode{root} // the directories down to where the walk is
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(len(stack)-1, 1)]
			continue
		}
		n, err := lookup(stack[len(stack)-1], part)
		switch {
		case err != nil:
			return treeNode{}, err
		case n.link == "":
			stack = append(stack, n)
			continue
		}
		if links++; links > maxLinks {
			return treeNode{}, &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
		}
		if strings.HasPrefix(n.link, "/") {
			stack = stack[:1]
		}
		rest = append(strings.Split(n.link, "/"), rest...)
	}
	return stack[len(stack)-1], nil
}

// lookup finds name in a directory as overlayfs does: the highest layer with that
// name wins, and directories are merged down to an opaque one.
func lookup(dir treeNode, name string) (treeNode, error) {
	var n treeNode
	for _, in := range dir.in {
		at := layerDir{in.root, path.Join(in.path, name)}
		info, err := at.root.Lstat(at.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return treeNode{}, err
		case len(n.in) > 0 && !info.IsDir(), isWhiteout(info):
			return n.orMissing(name)
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := at.root.Readlink(at.path)
			return treeNode{mode: info.Mode(), info: info, at: at, link: link}, err
		case !info.IsDir():
			return treeNode{mode: info.Mode(), info: info, at: at}, nil
		}
		if len(n.in) == 0 {
			n.mode, n.info, n.at = info.Mode(), info, at
		}
		if n.in = append(n.in, at); at.opaque() {
			break
		}
	}
	return n.orMissing(name)
}

func (n treeNode) orMissing(name string) (treeNode, error) {
	if len(n.in) == 0 {
		return treeNode{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// isWhiteout reports whether a layer removes the name from those below.
func isWhiteout(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0
}
