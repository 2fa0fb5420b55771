package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/network"
	"github.com/minirun/minirun/launcher/spec"
	"github.com/minirun/minirun/launcher/userns"
	"github.com/minirun/minirun/rootfs"
)

// runAction runs a command in a new container. It finds as many errors as possible before it
// makes anything: first in the flags, then in the profile, then in the image.
func (a *app) runAction(c *ucli.Context) error {
	initBy := launcher.InitBy(c.String("init-by"))
	if initBy != launcher.InitByPlan && initBy != launcher.InitByLibcontainer {
		return &usageError{"--init-by " + string(initBy) + ": no such init", "use plan or libcontainer"}
	}
	if os.Geteuid() == 0 { // else the program starts again
		launcher.Prime(initBy)
	}
	d, err := dirs(c)
	if err != nil {
		return err
	}
	flags, err := launchFlags(c)
	if err != nil {
		return err
	}
	if err := enterScope(c, flags); err != nil {
		return err
	}
	if err := enterForLaunch(c, flags); err != nil {
		return err
	}
	if userns.Rootless() {
		logrus.Debugf("user namespace: entered before Go started: %v", userns.Early())
	}
	detached, err := a.detached(c)
	if err != nil || detached.parent() {
		return err
	}
	before := stamps(d.Root, flags)
	prepared := network.Prepare(flags)
	a.warnOneID(d.Root)
	creates := c.Command.Name == "create"
	if err := launcher.CheckTerminal(flags, a.stdin); err != nil && detached == nil && !creates {
		return err
	}
	host, warnings, err := launcher.Inspect(flags)
	if err != nil {
		return err
	}
	logrus.Debugf("AppArmor: %s", cmp.Or(host.AppArmor, "unconfined"))
	if _, err := os.Lstat(flags.IDFile); err == nil {
		return &usageError{"--cidfile " + flags.IDFile + ": the file exists", "remove it, unless its container still runs"}
	}
	for _, warning := range warnings {
		a.ui.warn("%s", warning)
	}
	o := launcher.Options{
		Interactive: flags.Interactive, Init: flags.Init,
		Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr,
		InitBy: initBy, Planned: planned, Waits: waits,
	}
	if detached != nil {
		o.Stdin = nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	if flags.DropStdout {
		o.Stdout = null
	}
	if flags.DropStderr {
		o.Stderr = null
	}
	recording, err := a.recording(c, host.Capabilities)
	if err != nil {
		return err
	}
	reports, err := a.setFilter(c, &o, flags, host.Capabilities, d.Root)
	if err != nil {
		return err
	}
	defer reports.finish()
	if err := recording.observe(&o, reports); err != nil {
		return err
	}
	image, err := a.openImage(c, d.Root)
	if err != nil {
		return err
	}
	defer image.Close()
	merged, err := spec.Merge(*flags, spec.Image(image.Config))
	if errors.Is(err, spec.ErrNoCommand) {
		return &usageError{"run: " + err.Error(), fmt.Sprintf("write 'minirun %s COMMAND'", c.Args().First())}
	}
	if err != nil {
		return err
	}
	describeLaunch(&o.About, c.Args().First(), merged, image)
	if creates || keeps(c) || a.again != nil {
		if o.About.Again, err = a.againOf(c, &o.About, flags, image.Digest); err != nil {
			return err
		}
	}
	layers := image.WithFiles(d.Root, launcher.OwnFiles()...)
	if creates {
		return a.create(d, merged, host, image, layers, o)
	}
	if o.Agent != nil {
		if err := o.Agent.Connect(); err != nil {
			return err
		}
		defer o.Agent.Close()
	}
	if err := reports.open(); err != nil {
		return err
	}
	o.Signals, o.Network = merged.Signals, network.New(merged)
	o.Network.Prepared = prepared
	o.Notice = func(text string) { a.ui.say("%s", text) }
	if os.Getenv("GOCOVERDIR") == "" && detached == nil { // a program that counts coverage has to end as Go
		o.Rest = &launcher.Rest{}
		if lock := image.Lock(); lock != nil {
			o.Rest.Files = append(o.Rest.Files, lock)
		}
	}
	if o.Rest != nil && a.again == nil {
		o.Keep = a.keep(c, d.Root, merged, before, image, layers)
	}
	return recording.finish(merged.Args, a.launch(d, merged, host, image, layers, o, detached, keeps(c)))
}

// describeLaunch records what other processes can see of the launch.
func describeLaunch(about *launcher.About, image string, flags *config.Config, from *rootfs.Image) {
	about.Image, about.Network, about.Labels, about.Groups = image, string(flags.Network), flags.Labels, flags.Groups
	about.User, about.Volumes, about.Layers, about.Entrypoint = flags.User, flags.Volumes, from.Layers, from.Config.Entrypoint
	if flags.Entrypoint != nil {
		about.Entrypoint = *flags.Entrypoint
	}
	about.Flags = config.Flags{}
	for name, values := range flags.Given {
		if len(values) > 0 && !slices.Equal(values, []string{"false"}) && name != "env" && name != "label" {
			about.Flags[name] = values
		}
	}
}

// planned logs the plan of init, or why there is none.
func planned(plan fmt.Stringer, err error) {
	if err != nil {
		logrus.Debugf("plan: %v: libcontainer sets the container up", err)
		return
	}
	if logrus.IsLevelEnabled(logrus.DebugLevel) {
		for line := range strings.Lines(plan.String()) {
			logrus.Debugf("plan: %s", strings.TrimSpace(line))
		}
	}
}

// waits logs why the launcher does not go on in C while the container runs.
func waits(err error) {
	if err != nil {
		logrus.Debugf("wait: %v", err)
		return
	}
	logrus.Debug("wait: the launcher replaces itself")
}

// launchFlags reads the flags of a launch and the command after the image.
func launchFlags(c *ucli.Context) (*config.Config, error) {
	given := config.Flags{}
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		switch f.(type) {
		case *listFlag:
			given[name] = c.StringSlice(name)
		case *textFlag:
			if c.IsSet(name) {
				given[name] = []string{c.String(name)}
			}
		case *toggleFlag:
			given[name] = []string{strconv.FormatBool(c.Bool(name))}
		}
	}
	for _, name := range [...]string{"env-file", "label-file", "pull", "platform", "quiet", "rm", "detach", "log-driver", "log-opt", "seccomp-allow", "seccomp-deny", "seccomp-gate", "explain", "explain-to", "explain-filter", "complain", "record", "record-for", "init-by"} {
		delete(given, name) // these flags are not about the container
	}
	if !slices.Contains([]string{"", "always", "missing", "never"}, c.String("pull")) {
		return nil, &usageError{"--pull " + c.String("pull") + ": no such policy", "use always, missing or never"}
	}
	var err error
	if given["env"], err = environmentFlags(c.StringSlice("env-file"), c.StringSlice("env")); err != nil {
		return nil, err
	}
	labels, err := labelFiles(c.StringSlice("label-file"))
	if err != nil {
		return nil, err
	}
	given["label"] = append(labels, given["label"]...)
	if err := defaultNetwork(given); err != nil {
		return nil, err
	}
	flags, err := config.Parse(given)
	if err == nil {
		flags.Args = c.Args().Tail()
	}
	return flags, err
}

// networkVariable is the environment variable with the network of launches without
// --network.
const networkVariable = "MINIRUN_NETWORK"

// defaultNetwork adds the network that the environment names if no flag does.
func defaultNetwork(given config.Flags) error {
	value := os.Getenv(networkVariable)
	if value == "" || given["network"] != nil {
		return nil
	}
	var refused *config.Error
	if _, err := config.Parse(config.Flags{"network": {value}}); errors.As(err, &refused) {
		return &usageError{networkVariable + "=" + value + ": " + refused.Err.Error(), hint.Text(err)}
	}
	given["network"] = []string{value}
	return nil
}

// findImage looks the image up, and pulls it if --pull says so.
func (a *app) findImage(c *ucli.Context, root string) (*rootfs.Image, error) {
	store, err := rootfs.OpenStore(root)
	if err != nil {
		return nil, err
	}
	name, o := c.Args().First(), rootfs.ResolveOptions{
		Pull: rootfs.PullPolicy(c.String("pull")), Platform: c.String("platform"), Warn: a.warned,
	}
	// Nothing here takes long, so there are no signal handlers: os/signal would start threads.
	if image, err := store.Present(name, o); image != nil || err != nil {
		return image, err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	report, done := a.progress(name, c.Bool("quiet"))
	o.Progress = report
	image, err := store.Resolve(ctx, name, o)
	done(err)
	return image, causeOf(ctx, err)
}

// launch mounts the image's layers in a mount namespace of this thread and runs the container
// on them. When it returns nothing is left of the container, or a warning says what is. With
// keep the container's directory stays once the command has run.
func (a *app) launch(d launcher.Dirs, flags *config.Config, host spec.Host, image *rootfs.Image, layers []string, o launcher.Options, detached *supervisor, keep bool) error {
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
	container, err := a.takeContainer(d, flags.Name)
	if err != nil {
		return err
	}
	defer func() {
		end := container.Delete
		switch {
		case ran && keep:
			end = container.Finish
		case !ran && a.again != nil:
			end = container.GiveUp
		}
		if err := end(); err != nil {
			a.ui.warning(err)
		}
	}()
	if err := container.Outlast(detached != nil, keep); err != nil {
		return err
	}
	if keep {
		if err := image.Pin(container.Dir()); err != nil {
			return err
		}
	}
	end, err := a.attachLog(detached, container, &o)
	if err != nil {
		return err
	}
	defer end()
	overlay, ids, err := overlayOf(container, flags, layers)
	if err != nil {
		return err
	}
	mount := overlay.Mount
	if a.again != nil {
		mount = overlay.MountAgain
	}
	root, err := mount()
	if err != nil {
		return err
	}
	defer func() {
		if err := overlay.Unmount(); err != nil {
			a.ui.warning(err)
		}
	}()
	if err := launcher.MountVolumes(root, flags.Volumes, ids); err != nil {
		return err
	}
	if o.Spec, err = container.Spec(flags, host, root); err != nil {
		return err
	}
	idFile, err := writeID(flags.IDFile, container.ID())
	if err != nil {
		return err
	}
	if o.Rest != nil {
		o.Rest.Mounts, o.Rest.IDFile = overlay.Mounts(), idFile
	}
	code, err := container.Run(o, relay)
	if err != nil {
		return errors.Join(err, removeID(idFile))
	}
	ran = true
	if code != 0 {
		return status(code)
	}
	return nil
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
	return path, errors.Join(err, f.Close())
}

func removeID(file string) error {
	if file == "" {
		return nil
	}
	return os.Remove(file)
}
