package cli

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/rootfs"
)

// runAction runs a command in a new container. What can be refused is refused
// before anything is made: flags, then the profile, then the image.
func (a *app) runAction(c *ucli.Context) error {
	launcher.Prime()
	d, err := dirs(c)
	if err != nil {
		return err
	}
	o, err := a.launchOptions(c)
	if err != nil {
		return err
	}
	if err := setFilter(c, &o, d.Root); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return &usageError{"run: a container needs root", "try it with sudo; 'minirun seccomp' works without"}
	}
	image, err := a.findImage(c, d.Root)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := applyImage(&o, image.Config, c); err != nil {
		return err
	}
	return launch(d, c.String("name"), image, o)
}

// findImage looks the image up, and pulls it when it is to be.
func (a *app) findImage(c *ucli.Context, root string) (*rootfs.Image, error) {
	store, err := rootfs.OpenStore(root)
	if err != nil {
		return nil, err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	tell, done := a.progress("pull "+c.Args().First(), c.Bool("quiet"))
	defer done()
	image, err := store.Resolve(ctx, c.Args().First(), rootfs.ResolveOptions{
		Pull: rootfs.PullPolicy(c.String("pull")), Platform: c.String("platform"), Progress: tell,
	})
	return image, causeOf(ctx, err)
}

// launch mounts the image's layers in a mount namespace of this thread's own
// and runs the container on them. When it returns nothing of it is left.
func launch(d launcher.Dirs, name string, image *rootfs.Image, o launcher.Options) (err error) {
	runtime.LockOSThread() // and never unlocked: the namespace goes with the thread
	if err := launcher.PrivateMounts(); err != nil {
		return err
	}
	container, err := launcher.Create(d, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, container.Remove()) }()
	overlay := rootfs.Overlay{Layers: image.Layers, Dir: container.Dir()}
	if o.Root, err = overlay.Mount(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, overlay.Unmount()) }()
	code, err := container.Run(o)
	if err != nil {
		return err
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

// launchOptions reads the flags that need neither profile nor image.
func (a *app) launchOptions(c *ucli.Context) (launcher.Options, error) {
	o := launcher.Options{
		Workdir:       c.String("workdir"),
		User:          c.String("user"),
		GroupAdd:      c.StringSlice("group-add"),
		Hostname:      c.String("hostname"),
		Terminal:      c.Bool("tty"),
		Interactive:   c.Bool("interactive"),
		Init:          c.Bool("init"),
		ReadOnly:      c.Bool("read-only"),
		Privileged:    c.Bool("privileged"),
		Network:       c.String("network"),
		Volumes:       c.StringSlice("volume"),
		Mounts:        c.StringSlice("mount"),
		Tmpfs:         c.StringSlice("tmpfs"),
		Devices:       c.StringSlice("device"),
		Ulimits:       c.StringSlice("ulimit"),
		ShmSize:       c.String("shm-size"),
		Memory:        c.String("memory"),
		CPUs:          c.String("cpus"),
		Pids:          c.Int64("pids-limit"),
		CgroupManager: c.String("cgroup-manager"),
		Labels:        c.StringSlice("label"),
		Stdin:         a.stdin,
		Stdout:        a.stdout,
		Stderr:        a.stderr,
		Debug:         logrus.Debugf,
	}
	if !slices.Contains([]string{"none", "host"}, o.Network) {
		return o, &usageError{"--network " + o.Network + ": no such network", "there are none and host"}
	}
	if !slices.Contains([]string{"always", "missing", "never"}, c.String("pull")) {
		return o, &usageError{"--pull " + c.String("pull") + ": no such policy", "there are always, missing and never"}
	}
	if err := securityOptions(&o, c.StringSlice("security-opt")); err != nil {
		return o, err
	}
	add := c.StringSlice("cap-add")
	set, err := launcher.BoundingSet(add, c.StringSlice("cap-drop"), o.Privileged)
	if err != nil {
		return o, err
	}
	if os.Geteuid() == 0 {
		set, err = launcher.Grantable(set, add)
	}
	o.Capabilities = set
	return o, err
}

// securityOptions takes --security-opt but for seccomp=, which is setFilter's.
func securityOptions(o *launcher.Options, texts []string) error {
	for _, text := range texts {
		name, value, found := strings.Cut(text, "=")
		if !found {
			name, value, found = strings.Cut(text, ":") // Docker's older spelling
		}
		switch {
		case name == "seccomp" && found:
		case name == "no-new-privileges" && (!found || value == "true"):
			o.NoNewPrivileges = true
		case name == "no-new-privileges" && value == "false":
			o.NoNewPrivileges = false
		case name == "apparmor" && found:
			o.AppArmor = value
		default:
			return &usageError{"--security-opt " + text + ": unknown option", "there are seccomp=PROFILE, no-new-privileges and apparmor=PROFILE"}
		}
	}
	return nil
}

// applyImage fills in what the image says and the command line does not.
func applyImage(o *launcher.Options, image rootfs.Config, c *ucli.Context) error {
	own, err := environmentFlags(c.StringSlice("env-file"), c.StringSlice("env"))
	if err != nil {
		return err
	}
	o.Env = append(slices.Clone(image.Env), own...)
	if o.User == "" {
		o.User = image.User
	}
	if o.Workdir == "" {
		o.Workdir = image.WorkingDir
	}
	o.Args, err = command(c, image)
	return err
}

// command is what is to be run. As with Docker --entrypoint takes the place of
// the image's entry point and of its command too, and "" removes both.
func command(c *ucli.Context, image rootfs.Config) ([]string, error) {
	entrypoint, args := image.Entrypoint, c.Args().Tail()
	switch {
	case c.IsSet("entrypoint"):
		entrypoint = nil
		if e := c.String("entrypoint"); e != "" {
			entrypoint = []string{e}
		}
	case len(args) == 0:
		args = image.Cmd
	}
	all := append(slices.Clone(entrypoint), args...)
	if len(all) == 0 {
		return nil, &usageError{"run: no command given, and the image names none", fmt.Sprintf("write 'minirun %s COMMAND'", c.Args().First())}
	}
	return all, nil
}
