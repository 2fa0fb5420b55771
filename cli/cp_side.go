package cli

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// side is where paths are looked up: on this machine, or in the root of a container, which
// neither .. nor links lead out of.
type side struct {
	root      *os.File // nil means this machine
	container string
}

// open opens a path with O_PATH, and follows a link at its end if follow is true. In a
// container, the magic links of /proc are errors.
func (p side) open(name string, follow bool) (*os.File, error) {
	flags := unix.O_PATH | unix.O_CLOEXEC
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	dir, how := unix.AT_FDCWD, &unix.OpenHow{Flags: uint64(flags)}
	if p.root != nil {
		dir, how.Resolve = int(p.root.Fd()), unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS
	}
	for {
		fd, err := unix.Openat2(dir, name, how)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR): // a concurrent rename (openat2(2))
		case err != nil:
			return nil, err
		default:
			return os.NewFile(uintptr(fd), name), nil
		}
	}
}

// error returns the error for a path, in dockerd's words if it does not exist.
func (p side) error(name string, err error) error {
	if p.root != nil && errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("could not find the file %s in container %s", printable(name), printable(p.container))
	}
	return &os.PathError{Op: "cp", Path: strings.TrimPrefix(p.container+":", ":") + name, Err: err}
}

// source is what is copied, and its name in the stream: "." for the content of a directory.
type source struct {
	file  *os.File
	name  string
	isDir bool
}

func (p side) source(name string, follow bool) (*source, error) {
	slash := strings.HasSuffix(name, "/") || base(name) != path.Base(name) // or /.
	f, err := p.open(name, follow || slash)
	if err != nil {
		return nil, p.error(name, err)
	}
	s := &source{f, base(name), isDirectory(f)}
	if slash && !s.isDir {
		f.Close()
		return nil, p.error(name, unix.ENOTDIR)
	}
	if p.root == nil && s.name == ".." {
		if abs, err := filepath.Abs(name); err == nil {
			s.name = filepath.Base(abs)
		}
	}
	if s.isDir && (name == "." || strings.HasSuffix(name, "/.") || s.name == "/" || s.name == "..") {
		s.name = "."
	}
	return s, nil
}

// destination returns the directory for the copy of s, and its name there. The rules are those
// of docker cp: into an existing directory, in place of a file, or under a new name.
func (p side) destination(name string, s *source) (dir *os.File, as string, err error) {
	f, err := p.open(name, true)
	switch {
	case err == nil && isDirectory(f):
		return f, s.name, nil
	case err == nil && s.isDir:
		f.Close()
		return nil, "", fmt.Errorf("cannot copy a directory to the file %s", printable(name))
	case err == nil:
		f.Close()
	case !errors.Is(err, unix.ENOENT):
		return nil, "", p.error(name, err)
	case !s.isDir && (strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.")):
		return nil, "", fmt.Errorf("the directory %s does not exist", printable(name))
	}
	name = strings.TrimRight(strings.TrimSuffix(name, "/."), "/")
	if name, err = p.followed(name); err != nil {
		return nil, "", p.error(name, err)
	}
	above, as := path.Split(name)
	if above == "" {
		above = "."
	}
	if dir, err = p.open(above, true); err != nil {
		return nil, "", p.error(above, err)
	}
	if as == "." || as == ".." || as == "" || !isDirectory(dir) {
		dir.Close()
		return nil, "", p.error(name, unix.ENOTDIR)
	}
	return dir, as, nil
}

// followed returns the path that name leads to if it is a link, which need not exist. So the
// target is replaced or made, and the link stays.
func (p side) followed(name string) (string, error) {
	for range 40 { // as many as the kernel follows (path_resolution(7))
		f, err := p.open(name, false)
		if errors.Is(err, unix.ENOENT) { // the copy makes it
			return name, nil
		}
		if err != nil {
			return name, err
		}
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(f.Fd()), "", target)
		f.Close()
		if err != nil || n == 0 { // it is no link
			return name, nil
		}
		if link := string(target[:n]); path.IsAbs(link) {
			name = link
		} else {
			name = name[:strings.LastIndexByte(name, '/')+1] + link
		}
	}
	return name, unix.ELOOP
}
