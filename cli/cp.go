package cli

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/treetar"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/userns"
	"github.com/minirun/minirun/rootfs"
)

func (a *app) cpCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "cp",
		Usage:     "copy files to or from a container",
		ArgsUsage: "CONTAINER:PATH PATH|-, or PATH|- CONTAINER:PATH",
		Description: `A directory is copied with all below it: into a directory that exists, or else under the
new name. With /. at its end only what is in it is copied. - is a tar stream on standard
output or input. What is copied to a container belongs to its root, and what is copied
from one to you. A PATH of this machine with a colon in it starts with / or ./.`,
		Flags: []ucli.Flag{
			toggle("", "archive", "a", "keep the users and groups that files belong to"),
			toggle("", "follow-link", "L", "copy what the symbolic link PATH leads to"),
			toggle("", "quiet", "q", "accepted; nothing is printed anyway"),
		},
		Action: a.cpAction,
	}
}

func (a *app) cpAction(c *ucli.Context) error {
	if err := checkArgs(c, 2, 2); err != nil {
		return err
	}
	from, fromPath := containerPath(c.Args().Get(0))
	to, toPath := containerPath(c.Args().Get(1))
	switch {
	case from != "" && to != "":
		return &usageError{"cp: copying between containers is not supported", "copy to this machine first"}
	case from == "" && to == "":
		return &usageError{"cp: must specify at least one container source", "write CONTAINER:PATH for a path in a container"}
	case fromPath == "" || toPath == "":
		return &usageError{"cp: a path is empty", "write CONTAINER:/ for the root directory"}
	}
	name := from + to
	container, err := a.findContainer(c, name)
	if err != nil {
		return err
	}
	root, close, err := a.rootOf(c, container)
	if err != nil {
		return err
	}
	defer close()
	here, there := side{}, side{root: root, container: name}
	owner, err := owners(container, c.Bool("archive"), to != "")
	if err != nil {
		return err
	}
	if to != "" {
		err = a.copyTree(here, fromPath, there, toPath, c.Bool("follow-link"), owner)
	} else {
		err = a.copyTree(there, fromPath, here, toPath, c.Bool("follow-link"), owner)
	}
	if err != nil {
		return &containerError{err: err}
	}
	return nil
}

// containerPath splits CONTAINER:PATH as docker does. A path that starts with / or . is this
// machine's.
func containerPath(arg string) (container, path string) {
	container, path, found := strings.Cut(arg, ":")
	if !found || strings.HasPrefix(arg, "/") || strings.HasPrefix(container, ".") {
		return "", arg
	}
	return container, path
}

// owners returns the owner of the copies: the container's root, or the calling user. With
// keep the copies have the owners of the originals.
func owners(container *launcher.Container, keep, toContainer bool) (treetar.Owner, error) {
	uid, gid := os.Geteuid(), os.Getegid()
	if toContainer {
		uid, gid = 0, 0
		if container.Known().Status == launcher.StatusRunning && !userns.Rootless() { // else this process is in the container's namespace
			var err error
			if uid, gid, err = container.RootIDs(); err != nil {
				return nil, err
			}
		}
	}
	return func(u, g int) (int, int) {
		if keep {
			return u, g
		}
		return uid, gid
	}, nil
}

// rootOf opens the root of a container. The root of a container that has ended is mounted for
// this process only.
func (a *app) rootOf(c *ucli.Context, container *launcher.Container) (root *os.File, close func(), err error) {
	if container.Known().Status == launcher.StatusRunning {
		if err := userns.Join(container.Known().PID); err != nil {
			return nil, nil, err
		}
		root, err = container.OpenRoot()
		return root, func() { root.Close() }, err
	}
	if err := enter(c); err != nil {
		return nil, nil, err
	}
	release, err := container.Hold()
	if errors.Is(err, launcher.ErrOwned) {
		return nil, nil, refused("wait until it has ended", "container %s is neither running nor stopped", container.Name())
	}
	if err != nil {
		return nil, nil, err
	}
	root, unmount, err := mountStopped(container)
	if err != nil {
		release()
		return nil, nil, &containerError{err: err}
	}
	return root, func() { unmount(); release() }, nil
}

func mountStopped(container *launcher.Container) (root *os.File, close func(), err error) {
	launch, err := container.Launch()
	if err != nil {
		return nil, nil, err
	}
	runtime.LockOSThread() // and never unlocked: the mounts end with the thread
	if err := launcher.PrivateMounts(); err != nil {
		return nil, nil, err
	}
	overlay := rootfs.Overlay{Layers: launch.Layers, Dir: container.Dir()}
	dir, err := overlay.MountAgain()
	if err != nil {
		return nil, nil, err
	}
	if root, err = os.Open(dir); err != nil {
		return nil, nil, errors.Join(err, overlay.Unmount())
	}
	return root, func() { root.Close(); _ = overlay.Unmount() }, nil
}

// copyTree copies from one side to the other. A path of this machine may be -.
func (a *app) copyTree(from side, fromPath string, to side, toPath string, follow bool, owner treetar.Owner) error {
	if from.root == nil && fromPath == "-" {
		return extractInto(bufio.NewReader(a.stdin), to, toPath, owner)
	}
	s, err := from.source(fromPath, follow)
	if err != nil {
		return err
	}
	defer s.file.Close()
	if to.root == nil && toPath == "-" {
		return writeTree(a.stdout, s.file, s.name)
	}
	dir, name, err := to.destination(toPath, s)
	if err != nil {
		return err
	}
	defer dir.Close()
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writeTree(w, s.file, name)
		_ = w.CloseWithError(err) // Extract returns err; nil is the end of the stream
		written <- err
	}()
	err = treetar.Extract(r, int(dir.Fd()), owner)
	_ = r.CloseWithError(errors.New("not read any more"))
	if failed := <-written; failed != nil && err == nil {
		err = failed
	}
	return err
}

func writeTree(w io.Writer, tree *os.File, name string) error {
	out := tar.NewWriter(w)
	return errors.Join(treetar.Write(out, int(tree.Fd()), name), out.Close())
}

// extractInto extracts a stream into a directory, which must exist.
func extractInto(r io.Reader, to side, toPath string, owner treetar.Owner) error {
	dir, err := to.open(toPath, true)
	if err != nil {
		return to.error(toPath, err)
	}
	defer dir.Close()
	if !isDirectory(dir) {
		return fmt.Errorf("destination \"%s\" must be a directory", printable(to.container+":"+toPath))
	}
	return treetar.Extract(r, int(dir.Fd()), owner)
}

func isDirectory(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.IsDir()
}

// base returns the last component of a path, ignoring slashes and . at its end.
func base(name string) string { return path.Base(path.Clean(name)) }
