package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/userns"
)

// isUsers reports whether this process belongs to an ordinary user, also if it is root of a
// user namespace.
func isUsers() bool { return os.Geteuid() != 0 || userns.Rootless() }

// enter makes a user's process root of a user namespace, in which images are unpacked and
// containers made, by starting the program again ([userns.Enter]). Nothing may have been
// printed or read before. As root it does nothing.
func enter(c *ucli.Context) error {
	if os.Geteuid() == 0 {
		return nil
	}
	d, err := dirs(c)
	if err != nil {
		return err
	}
	launcher.KillAbandoned(d)
	return userns.Enter(userns.Find())
}

// enterForLaunch is enter before a launch. A container that shares another container's network
// also shares its host name, as with Docker. Without root it also shares the user namespace,
// to which the network belongs.
func enterForLaunch(c *ucli.Context, flags *config.Config) error {
	name := flags.Network.Container()
	if name == "" {
		return enter(c)
	}
	d, err := dirs(c)
	if err != nil {
		return err
	}
	other, err := launcher.Find(d, name, func(error) {})
	if err != nil || other.Known().Status != launcher.StatusRunning {
		return enter(c) // the launcher reports it when it opens the network
	}
	if launch, err := other.Launch(); err == nil {
		flags.Hostname = launch.Hostname
	}
	if os.Geteuid() == 0 {
		return nil
	}
	launcher.KillAbandoned(d)
	return userns.Join(other.Known().PID)
}

// enterToRemove is enter before containers are removed, whose files may belong to subordinate
// IDs. With --force it first kills the running ones, since inside the namespace this process
// cannot signal processes of another. A container of --rm is then removed by its launcher,
// and left out inside. done reports that nothing is left to do.
func (a *app) enterToRemove(c *ucli.Context) (done bool, err error) {
	if os.Geteuid() == 0 {
		return false, nil
	}
	if !c.Bool("force") {
		return false, enter(c)
	}
	d, err := dirs(c)
	if err != nil {
		return false, err
	}
	left := c.NArg()
	for _, name := range c.Args().Slice() {
		container, err := launcher.Find(d, name, func(error) {})
		if err != nil || container.Halt(c.Context, launcher.StopPolicy{Signal: unix.SIGKILL}) != nil || container.Known().Keep {
			continue // it is removed or reported inside
		}
		if err := a.released(c.Context, container); err != nil {
			return false, err
		}
		if _, err := os.Stat(container.Dir()); errors.Is(err, fs.ErrNotExist) {
			if _, err := fmt.Fprintln(a.stdout, printable(name)); err != nil {
				return false, err
			}
			forget(name)
			left--
		}
	}
	if left == 0 && c.NArg() > 0 {
		return true, nil
	}
	return false, enter(c)
}

// forget removes the last word equal to name from the command line with which the program
// starts again.
func forget(name string) {
	for i := len(os.Args) - 1; i > 0; i-- {
		if os.Args[i] == name {
			os.Args = slices.Delete(os.Args, i, i+1)
			return
		}
	}
}

// oneIDStore is the directory below the root with the store of a user without subordinate IDs.
// Its files have lost their owners, so the images would be wrong with more IDs.
const oneIDStore = "one-id"

// userRoot returns the directory for images and containers: root, or oneIDStore below it.
func userRoot(root string) (string, error) {
	one := false
	switch {
	case !isUsers():
	case userns.Rootless():
		uids, _, err := userns.Mapped()
		if err != nil {
			return "", err
		}
		one = uids == 1
	default:
		one = userns.Find().Missing != nil
	}
	if one {
		return filepath.Join(root, oneIDStore), nil
	}
	return root, nil
}

// warnOneID warns once, before the store is made, that containers have only one user.
func (a *app) warnOneID(root string) {
	if !isUsers() || filepath.Base(root) != oneIDStore {
		return
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if missing := userns.Find().Missing; missing != nil {
		a.ui.warn("%v: the container has one user, 0", missing)
		a.ui.hint(hintOf(missing))
	}
}

// controllerOf returns the cgroup controller that a flag's limit needs, or "".
func controllerOf(flag string) string {
	switch flag {
	case "memory", "memory-swap", "memory-reservation":
		return "memory"
	case "cpus", "cpu-period", "cpu-quota", "cpu-shares":
		return "cpu"
	case "cpuset-cpus", "cpuset-mems":
		return "cpuset"
	case "pids-limit":
		return "pids"
	}
	return ""
}

// enterScope moves a user's process to a cgroup from systemd, if flags ask for limits. Inside
// the namespace the container's cgroup is made below it.
func enterScope(c *ucli.Context, flags *config.Config) error {
	switch {
	case !isUsers():
		return nil
	case flags.CgroupManager == config.CgroupManagerSystemd, flags.CgroupParent != "":
		return &usageError{"--cgroup-manager, --cgroup-parent: without root a container has the cgroup that your systemd gives, or none", "leave them out, or run it with sudo"}
	case flags.Limits == (config.Limits{}), flags.Limits == (config.Limits{Pids: -1}):
		return nil
	}
	if userns.Rootless() {
		flags.CgroupParent = launcher.ScopeParent()
		return nil
	}
	var controllers []string
	first := ""
	for _, f := range c.Command.Flags {
		if controller := controllerOf(f.Names()[0]); controller != "" && c.IsSet(f.Names()[0]) {
			controllers = append(controllers, controller)
			first = cmp.Or(first, "--"+f.Names()[0]+" "+c.String(f.Names()[0]))
		}
	}
	if err := launcher.EnterScope(controllers...); err != nil {
		return &launcher.Error{Op: first, Err: err}
	}
	return nil
}
