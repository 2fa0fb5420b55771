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

// isUsers reports whether this process is an ordinary user's, be it as root of a user
// namespace.
func isUsers() bool { return os.Geteuid() != 0 || userns.Rootless() }

// enter makes the process of a user root of a user namespace, where images are unpacked
// and containers made, by starting the program again ([userns.Enter]). Nothing may have
// been printed or read by then. As root it does nothing.
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

// enterForLaunch is enter before a launch. One that shares another container's network has
// that one's host name, as with Docker. A user's is in that one's user namespace too, to
// which the network belongs.
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
		return enter(c) // the launcher says so, when it opens the network
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

// enterToRemove is enter before containers are removed, whose files need not be the user's
// own. Those that run are killed before, if they are to be: once inside, this process
// cannot signal those of another namespace. One that goes when it has ended is removed by
// its launcher then, and none of what is left to do inside. done says that nothing is.
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
			continue // it is removed inside, or said there
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

// forget takes the last of the words that are name off the command line with which the
// program starts again.
func forget(name string) {
	for i := len(os.Args) - 1; i > 0; i-- {
		if os.Args[i] == name {
			os.Args = slices.Delete(os.Args, i, i+1)
			return
		}
	}
}

// oneIDStore is where the images of a user without subordinate IDs are, below the root:
// their files have lost their owners, and with more IDs would be wrong.
const oneIDStore = "one-id"

// userRoot returns the directory for a user's images and containers below root.
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

// warnOneID says once, before the store is made, that containers have one user.
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

// enterScope gives the process of a user the cgroup that limits need, if there are any. In
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
