package cli

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
	"github.com/minirun/minirun/launcher/userns"
	"github.com/minirun/minirun/rootfs"
)

// launch is what the launch of a container is made from.
type launch struct {
	dirs     launcher.Dirs
	flags    *config.Config // with the image's configuration
	host     spec.Host
	image    *rootfs.Image
	layers   []string
	o        launcher.Options
	detached *supervisor // nil in the foreground
	keep     bool        // the container stays when it has ended

	reports    *liveReports // nil without --explain and its like
	recording  *recording   // nil without --record
	unrecorded error        // why the recording could not be written
}

// launch mounts the image's layers in a mount namespace of this thread and runs the container
// on them. When it returns nothing is left of the container, or a warning says what is. A
// container that is kept leaves its directory once the command has run.
func (a *app) launch(l *launch) error {
	runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
	if err := launcher.PrivateMounts(); err != nil {
		return err
	}
	relay, err := launcher.NewRelay()
	if err != nil {
		return err
	}
	ran := false
	defer func() { // after everything has been removed
		if !ran { // if it ran, a late signal must not change the status
			relay.Stop()
		}
	}()
	container, err := a.takeContainer(l.dirs, l.flags.Name)
	if err != nil {
		return err
	}
	defer func() { a.endContainer(container, l, ran) }()
	code, err := a.launchIn(container, l, relay)
	if err != nil {
		return err
	}
	ran = true
	if code != 0 {
		return status(code)
	}
	return l.unrecorded
}

// endContainer removes the container of a launch, or leaves what a later start needs. ran
// says whether the command has run.
func (a *app) endContainer(container *launcher.Container, l *launch, ran bool) {
	end := container.Delete
	switch {
	case ran && (l.keep || l.detached != nil && container.HeldForRestart()):
		end = container.Finish
	case !ran && a.again != nil:
		end = container.GiveUp
	}
	if err := end(); err != nil {
		a.ui.warning(err)
	}
}

// launchIn mounts the root of a container, runs the container, unmounts its root, and returns
// the command's exit status.
func (a *app) launchIn(container *launcher.Container, l *launch, relay *launcher.Relay) (code int, err error) {
	if err := container.Outlast(l.detached != nil, l.keep); err != nil {
		return 0, err
	}
	if l.keep || l.detached != nil { // which can be started again
		if err := l.image.Pin(container.Dir()); err != nil {
			return 0, err
		}
	}
	if err := l.noteTag(container); err != nil {
		return 0, err
	}
	end, err := a.attachLog(l.detached, container, &l.o)
	if err != nil {
		return 0, err
	}
	defer end()
	defer func() { // with -d the log ends next, and takes what is said
		l.reports.finish()
		if err == nil {
			l.unrecorded = l.recording.finish(l.flags.Args, code != 0 || l.detached != nil)
		}
	}()
	overlay, ids, err := overlayOf(container, l.flags, l.layers)
	if err != nil {
		return 0, err
	}
	mount := overlay.Mount
	if a.again != nil {
		mount = overlay.MountAgain
	}
	root, err := mount()
	if err != nil {
		return 0, err
	}
	defer func() {
		overlay.Dir = container.LauncherDir()
		if err := overlay.Unmount(); err != nil {
			a.ui.warning(err)
		}
	}()
	if l.o.Rest != nil {
		l.o.Rest.Mounts = overlay.Mounts()
	}
	return l.run(container, root, ids, relay)
}

// run runs the container on a root, and returns the command's exit status.
func (l *launch) run(container *launcher.Container, root string, ids *userns.Namespace, relay *launcher.Relay) (code int, err error) {
	if err := launcher.MountVolumes(root, l.flags.Volumes, ids); err != nil {
		return 0, err
	}
	if l.o.Spec, err = container.Spec(l.flags, l.host, root); err != nil {
		return 0, err
	}
	idFile, err := writeID(l.flags.IDFile, container.ID())
	if err != nil {
		return 0, err
	}
	if l.o.Rest != nil {
		l.o.Rest.IDFile = idFile
	}
	code, err = container.Run(l.o, relay)
	if err != nil {
		return 0, errors.Join(err, removeID(idFile))
	}
	return code, nil
}

// writeID writes the file of --cidfile and returns its absolute path, by which the file is
// removed if the container does not start.
func writeID(file, id string) (path string, err error) {
	if file == "" {
		return "", nil
	}
	if path, err = filepath.Abs(file); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", fileError("--cidfile", file, err)
	}
	_, err = f.WriteString(id)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // else the next launch would refuse the file
		return "", fileError("--cidfile", file, err)
	}
	return path, nil
}

func removeID(file string) error {
	if file == "" {
		return nil
	}
	return os.Remove(file)
}
