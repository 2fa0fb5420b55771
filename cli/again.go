package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/userns"
	"github.com/minirun/minirun/rootfs"
)

// again is a container that is launched another time, with the flags, the image and the
// filter that it was made with.
type again struct {
	container *launcher.Container
	launch    *launcher.Launch
}

// againFlags are the flags of a launch that are not about the container, but are those of
// its next launch, too.
var againFlags = [...]string{"rm", "log-driver", "log-opt", "seccomp-allow", "seccomp-deny", "seccomp-gate", "explain", "explain-to", "explain-filter", "complain", "record", "record-for", "init-by"}

// againOf returns what a container that stays is launched from another time. Paths of flags
// become absolute ones.
func (a *app) againOf(c *ucli.Context, about *launcher.About, flags *config.Config, digest string) (*launcher.Again, error) {
	r := &launcher.Again{Environment: flags.Given["env"], Labels: flags.Given["label"], Args: flags.Args, Digest: digest, Flags: config.Flags{}, Attached: !c.Bool("detach")}
	if a.again != nil {
		r.Attached = a.again.launch.Again.Attached
	}
	for _, name := range againFlags {
		switch f := flagOf(c, name).(type) {
		case *listFlag:
			r.Flags[name] = c.StringSlice(name)
		case *toggleFlag:
			r.Flags[name] = []string{strconv.FormatBool(c.Bool(name))}
		case *textFlag:
			value := c.String(name)
			if (name == "explain-to" || name == "record") && value != "" {
				var err error
				if value, err = filepath.Abs(value); err != nil {
					return nil, err
				}
			}
			if value != f.Value {
				r.Flags[name] = []string{value}
			}
		}
	}
	if !c.IsSet("rm") { // as with Docker a container stays unless it is given
		r.Flags["rm"] = []string{"false"}
	}
	var err error
	about.Flags, err = about.Flags.Absolute()
	return r, err
}

func flagOf(c *ucli.Context, name string) ucli.Flag {
	for _, f := range c.Command.Flags {
		if f.Names()[0] == name {
			return f
		}
	}
	return nil
}

// launchAgain launches the container that the argument names, in this process, which is its
// supervisor: as run does, but what is not the container's own comes from its record.
func (a *app) launchAgain(c *ucli.Context) error {
	container, err := a.findContainer(c, c.Args().First())
	if err != nil {
		return err
	}
	launch, err := container.Launch()
	if err != nil {
		return &containerError{err: err}
	}
	if launch.Again == nil {
		return refused("make a new one", "container %s has no record of its launch: an earlier minirun made it", container.Name())
	}
	a.again = &again{container, launch}
	os.Unsetenv(networkVariable) // the record has the network
	app := a.newApp()
	line := append([]string{app.Name}, globalArgs(c)...)
	line = append(append(line, "run", "--detach=true"), launchArgs(launch)...)
	return app.Run(append(append(line, "--", container.Known().Image), launch.Again.Args...))
}

// globalArgs returns the global flags, as [arrange] does.
func globalArgs(c *ucli.Context) (args []string) {
	for _, name := range []string{"root", "run-root"} {
		if value := c.String(name); value != "" {
			args = append(args, "--"+name+"="+value)
		}
	}
	if c.Bool("debug") {
		args = append(args, "--debug=true")
	}
	return args
}

// launchArgs returns the flags of a launch, as [arrange] does.
func launchArgs(l *launcher.Launch) (args []string) {
	for _, flags := range []config.Flags{l.Flags, l.Again.Flags, {"env": l.Again.Environment, "label": l.Again.Labels}} {
		for name, values := range flags {
			if slices.Contains([]string{"name", "cidfile", "attach"}, name) { // they were for the first launch
				continue
			}
			for _, value := range values {
				args = append(args, "--"+name+"="+value)
			}
		}
	}
	return args
}

// sameProfile returns an error if the profile of a container that is launched another time
// is not what it was, but has to be read once more.
func (g *again) sameProfile(now launcher.Profile) error {
	if g == nil || now.Digest == g.launch.Seccomp.Digest {
		return nil
	}
	return refused("make a new container, or bring the profile back", "%s has changed since container %s was made, and reports would name its new rules", printable(now.Name), g.container.Name())
}

// openImage finds the image of a launch. That of a container that is launched another time is
// what it was, whatever has its name now.
func (a *app) openImage(c *ucli.Context, root string) (*rootfs.Image, error) {
	if a.again == nil || a.again.launch.Again.Digest == "" {
		return a.findImage(c, root)
	}
	store, err := rootfs.OpenStore(root)
	if err != nil {
		return nil, err
	}
	return store.Reopen(a.again.launch.Again.Digest)
}

// takeContainer makes the container of a launch, or takes the one that is launched another
// time.
func (a *app) takeContainer(d launcher.Dirs, name string) (*launcher.Container, error) {
	if a.again == nil {
		return launcher.New(d, name, launcher.OwnerLauncher, a.ui.warning)
	}
	return a.again.container, a.again.container.Reopen(context.Background())
}

// overlayOf describes the root of a container, which gets users and groups of its own if the
// flags say so.
func overlayOf(container *launcher.Container, flags *config.Config, layers []string) (overlay rootfs.Overlay, ids *userns.Namespace, err error) {
	overlay = rootfs.Overlay{Layers: layers, Dir: container.Dir()}
	if ids, err = container.TakeIDs(flags); err != nil {
		return overlay, nil, err
	}
	if ids != nil {
		overlay.Users = ids.User
	}
	overlay.Root, err = container.RootDir()
	return overlay, ids, err
}

// superviseAgain launches a container another time, in the background. Whoever has the other
// end of the socket is attached to it, unless that is nil.
func (a *app) superviseAgain(c *ucli.Context, container *launcher.Container, socket *os.File) error {
	_, err := a.startSupervisor(append(globalArgs(c), "start", "--", container.ID()), socket)
	if err != nil && !errors.As(err, new(status)) {
		return fmt.Errorf("start container %s: %w", container.Name(), err)
	}
	return err
}
