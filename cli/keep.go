package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/network"
	"github.com/minirun/minirun/rootfs"
)

// stamps takes those of what a launch reads at paths that may lead elsewhere at any moment.
func stamps(root string, flags *config.Config) launcher.Stamps {
	paths := append(network.NameServerFiles(), filepath.Join(root, "index.json"))
	if flags.Seccomp != "unconfined" && !isDefault(flags.Seccomp) {
		if profile, err := filepath.Abs(flags.Seccomp); err == nil { // else it is not found either
			paths = append(paths, profile)
		}
	}
	return launcher.TakeStamps(paths...)
}

// keep returns what keeps the launch for the next one like it, or nil where that could
// differ: for a flag that is about something on the host that no stamp shows.
func (a *app) keep(c *ucli.Context, root string, flags *config.Config, before launcher.Stamps, image *rootfs.Image, layers []string) *launcher.Keep {
	if why := unkeepable(c, flags, image); why != "" {
		kept(nil, errors.New(why))
		return nil
	}
	k := &launcher.Keep{
		Before: before, Files: slices.Clone(image.Files()), Image: image.Lock().Name(), Words: c.Args().Tail(), Named: flags.Name != "", Layers: layers, Mount: rootfs.OverlayOptions,
		Only: c.Bool("debug"), Silent: func() bool { return !a.ui.said() }, Kept: kept,
	}
	for _, m := range flags.Mounts {
		if m.Type == config.Bind {
			k.Binds = append(k.Binds, m.Source)
		}
	}
	for _, layer := range layers {
		k.Files = append(k.Files, layer, filepath.Join(layer, "etc/passwd"), filepath.Join(layer, "etc/group"))
	}
	return k.Begin(root)
}

// unkeepable returns why a launch is not kept, or "". What the command line gives counts, not
// what has become of it: of a file of variables only those are left.
func unkeepable(c *ucli.Context, flags *config.Config, image *rootfs.Image) string {
	switch {
	case len(image.Files()) == 0:
		return "an image that is not looked for in the store alone"
	case flags.Network != config.NetworkNone && flags.Network != config.NetworkBridge:
		return "the network " + string(flags.Network)
	case len(flags.Volumes) > 0:
		return "volumes"
	case slices.ContainsFunc(flags.Mounts, propagates):
		return "a mount that others' mounts come to"
	case keeps(c):
		return "--rm=false"
	}
	for _, variable := range c.StringSlice("env") { // those that are no part of the key
		if name, _, _ := strings.Cut(variable, "="); name == "_" || name == "OLDPWD" || name == "SHLVL" {
			return "--env " + name
		}
	}
	for _, f := range c.Command.Flags {
		if name := f.Names()[0]; c.IsSet(name) && !keepable(name) {
			return "--" + name
		}
	}
	return ""
}

// propagates reports whether a mount is refused where the source's own mount does not
// propagate, which no stamp shows.
func propagates(m config.Mount) bool { return strings.HasSuffix(m.Propagation, "slave") }

// keepable reports whether a flag says by its value alone what a launch does, or by files
// whose stamps are taken.
func keepable(flag string) bool {
	switch flag {
	case "cap-add", "cap-drop", "entrypoint", "env", "hostname", "domainname", "interactive", "label", "network", "read-only",
		"add-host", "dns", "dns-search", "dns-option", "name", "volume", "mount", "sysctl", "tty", "oom-score-adj",
		"memory", "memory-swap", "memory-reservation", "cpus", "cpu-quota", "cpu-period", "cpu-shares", "cpuset-cpus", "cpuset-mems", "pids-limit",
		"security-opt", "shm-size", "stop-signal", "stop-timeout", "tmpfs", "ulimit", "user", "group-add", "workdir", "sig-proxy",
		"seccomp", "seccomp-allow", "seccomp-deny", "seccomp-gate", "pull", "platform", "quiet", "rm":
		return true
	}
	return false
}

// kept logs what the next launch will do without Go.
func kept(l fmt.Stringer, err error) {
	if !logrus.IsLevelEnabled(logrus.DebugLevel) {
		return
	}
	if err != nil {
		logrus.Debugf("launch: not kept: %v", err)
		return
	}
	for line := range strings.Lines(l.String()) {
		logrus.Debugf("launch: %s", strings.TrimSpace(line))
	}
}
