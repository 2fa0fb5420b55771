package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
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
	d, flags, err := beginLaunch(c)
	if err != nil {
		return err
	}
	detached, err := a.detached(c, flags)
	if err != nil || detached.parent() {
		return err
	}
	before := stamps(d.Root, flags)
	prepared := network.Prepare(flags)
	a.warnOneID(d.Root)
	if err := launcher.CheckTerminal(flags, a.stdin); err != nil && detached == nil && !creates(c) {
		return err
	}
	l := &launch{dirs: d, detached: detached, keep: keeps(c)}
	if l.host, err = a.inspectHost(flags); err != nil {
		return err
	}
	null, err := a.options(c, l, flags)
	if err != nil {
		return err
	}
	defer null.Close()
	if l.recording, err = a.recording(c, l.host.Capabilities); err != nil {
		return err
	}
	if l.reports, err = a.setFilter(c, &l.o, flags, l.host.Capabilities, d.Root); err != nil {
		return err
	}
	if err := l.recording.observe(&l.o, l.reports); err != nil {
		return err
	}
	if l.image, err = a.openImage(c, d.Root); err != nil {
		return err
	}
	defer l.image.Close()
	if err := a.mergeImage(c, l, flags); err != nil {
		return err
	}
	if creates(c) {
		return a.create(l)
	}
	if l.o.Agent != nil {
		if err := l.o.Agent.Connect(); err != nil {
			return err
		}
		defer l.o.Agent.Close()
	}
	if err := l.reports.open(); err != nil {
		return err
	}
	l.o.Signals, l.o.Network = l.flags.Signals, network.New(l.flags)
	l.o.Network.Prepared = prepared
	l.o.Notice = func(text string) { a.ui.say("%s", text) }
	a.leaveRest(c, l, before)
	return a.launch(l)
}

func creates(c *ucli.Context) bool { return c.Command.Name == "create" }

// beginLaunch reads the flags, and enters the scope and the user namespace that they need.
func beginLaunch(c *ucli.Context) (d launcher.Dirs, flags *config.Config, err error) {
	initBy := launcher.InitBy(c.String("init-by"))
	if initBy != launcher.InitByPlan && initBy != launcher.InitByLibcontainer {
		return d, nil, &usageError{"--init-by " + string(initBy) + ": no such init", "use plan or libcontainer"}
	}
	if os.Geteuid() == 0 { // else the program starts again
		launcher.Prime()
	}
	if d, err = dirs(c); err != nil {
		return d, nil, err
	}
	if flags, err = launchFlags(c); err != nil {
		return d, nil, err
	}
	if err := enterScope(c, flags); err != nil {
		return d, nil, err
	}
	if err := enterForLaunch(c, flags); err != nil {
		return d, nil, err
	}
	if userns.Rootless() {
		logrus.Debugf("user namespace: entered before Go started: %v", userns.Early())
	}
	return d, flags, nil
}

// inspectHost returns what the flags depend on, and prints warnings.
func (a *app) inspectHost(flags *config.Config) (spec.Host, error) {
	host, warnings, err := launcher.Inspect(flags)
	if err != nil {
		return host, err
	}
	logrus.Debugf("AppArmor: %s", cmp.Or(host.AppArmor, "unconfined"))
	if _, err := os.Lstat(flags.IDFile); err == nil {
		return host, &usageError{"--cidfile " + flags.IDFile + ": the file exists", "remove it, unless its container still runs"}
	}
	for _, warning := range warnings {
		a.ui.warn("%s", warning)
	}
	return host, nil
}

// options sets the options of a launch that depend on flags only. The caller closes null.
func (a *app) options(c *ucli.Context, l *launch, flags *config.Config) (null *os.File, err error) {
	l.o = launcher.Options{
		Interactive: flags.Interactive, Init: flags.Init,
		Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr,
		InitBy: launcher.InitBy(c.String("init-by")), Planned: planned, Waits: waits,
	}
	if l.detached != nil {
		l.o.Stdin = nil
	}
	if !flags.DropStdout && !flags.DropStderr {
		return nil, nil
	}
	if null, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return nil, err
	}
	if flags.DropStdout {
		l.o.Stdout = null
	}
	if flags.DropStderr {
		l.o.Stderr = null
	}
	return null, nil
}

// mergeImage adds the image's configuration to the flags, and describes the launch.
func (a *app) mergeImage(c *ucli.Context, l *launch, flags *config.Config) (err error) {
	l.flags, err = spec.Merge(*flags, spec.Image(l.image.Config))
	if errors.Is(err, spec.ErrNoCommand) {
		return &usageError{"run: " + err.Error(), fmt.Sprintf("write 'minirun %s COMMAND'", c.Args().First())}
	}
	if err != nil {
		return err
	}
	describeLaunch(&l.o.About, c.Args().First(), l.flags, l.image)
	if creates(c) || keeps(c) || l.detached != nil || a.again != nil {
		if l.o.About.Again, err = a.againOf(c, &l.o.About, flags, l.image.Digest); err != nil {
			return err
		}
	}
	l.layers = l.image.WithFiles(l.dirs.Root, launcher.OwnFiles()...)
	return nil
}

// leaveRest lets the launcher go on in C, and a repeated launch be carried out in C, where
// that is possible. before are the stamps from before the files were read.
func (a *app) leaveRest(c *ucli.Context, l *launch, before launcher.Stamps) {
	if os.Getenv("GOCOVERDIR") != "" { // a program that counts coverage has to end as Go
		return
	}
	l.o.Rest = &launcher.Rest{}
	if lock := l.image.Lock(); lock != nil {
		l.o.Rest.Files = append(l.o.Rest.Files, lock)
	}
	if a.again == nil && l.detached == nil {
		l.o.Keep = a.keep(c, l.dirs.Root, l.flags, before, l.image, l.layers)
	}
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
	for _, name := range append([]string{"env-file", "label-file", "pull", "platform", "quiet", "detach", "detach-keys"}, againFlags[:]...) {
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
