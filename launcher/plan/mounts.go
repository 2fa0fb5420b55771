package plan

import (
	"cmp"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/arm"
)

// Host is what a plan depends on of the machine.
type Host struct {
	Kcore   bool // /proc/kcore exists
	Unified bool // cgroups of version 2 only
	Cgroups []CgroupMount

	UserNamespace bool // the container is in one, where no device nodes can be made
	GroupsDenied  bool // and no groups can be set (user_namespaces(7), setgroups)
}

// CgroupMount is a mounted hierarchy of cgroups, version 1.
type CgroupMount struct {
	Name string // the last part of its mount point, "cpu,cpuacct"
	Own  string // the container's cgroup in it, a directory of the host's
}

// Inspect finds out what a plan depends on of the machine. own are the directories of
// the container's cgroup by controller.
func Inspect(config *configs.Config, own map[string]string) (Host, error) {
	_, missing := os.Stat("/proc/kcore")
	inside := userns.RunningInUserNS()
	host := Host{Kcore: missing == nil, Unified: cgroups.IsCgroup2UnifiedMode(), UserNamespace: inside || config.Namespaces.Contains(configs.NEWUSER)}
	if inside {
		setgroups, err := os.ReadFile("/proc/self/setgroups")
		if err != nil {
			return Host{}, err
		}
		host.GroupsDenied = string(setgroups) == "deny\n"
	}
	if host.Unified {
		return host, nil
	}
	mounts, err := cgroups.GetCgroupMounts(false)
	if err != nil {
		return Host{}, err
	}
	paths, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return Host{}, err
	}
	for _, m := range mounts {
		dir := cmp.Or(own[m.Subsystems[0]], own[cgroups.CgroupNamePrefix+m.Subsystems[0]])
		if dir == "" {
			inherited, err := m.GetOwnCgroup(paths)
			if err != nil {
				return Host{}, err
			}
			rel, err := filepath.Rel(m.Root, inherited)
			if err != nil {
				return Host{}, err
			}
			dir = filepath.Join(m.Mountpoint, rel)
		}
		host.Cgroups = append(host.Cgroups, CgroupMount{filepath.Base(m.Mountpoint), dir})
	}
	return host, nil
}

// mounts returns the steps of a configuration's mounts.
func mounts(c *configs.Config, host Host) ([]arm.PlanStep, error) {
	var steps []arm.PlanStep
	for _, m := range c.Mounts {
		target, err := destination(c, m)
		if err != nil {
			return nil, err
		}
		var some []arm.PlanStep
		switch {
		case m.IDMapping != nil:
			err = NotExpressible("a mount with mapped IDs")
		case m.Extensions != 0:
			err = NotExpressible("a tmpfs with a copy of what it hides")
		case len(m.PropagationFlags) > 1:
			err = NotExpressible("a mount with several propagations")
		case m.Flags&unix.MS_REMOUNT != 0:
			err = NotExpressible("a remount")
		case m.Device == "bind":
			some, err = bind(m, target)
		case m.Device == "cgroup" && !host.Unified:
			some = cgroup1(c, m, target, host.Cgroups)
		default:
			some, err = fileSystem(m, target)
		}
		if err != nil {
			return nil, err
		}
		steps = append(steps, some...)
	}
	return steps, nil
}

// lxcfs are the files in /proc that something may be mounted on (libcontainer's
// checkProcMount).
var lxcfs = [...]string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/loadavg",
	"/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}

// destination returns the path of a mount. Odd paths are left to libcontainer, which
// refuses or resolves them.
func destination(c *configs.Config, m *configs.Mount) (string, error) {
	target := path.Clean(m.Destination)
	switch {
	case !path.IsAbs(target) || slices.Contains(strings.Split(m.Destination, "/"), ".."):
		return "", NotExpressible("a mount point with ..")
	case target == "/":
		return "", NotExpressible("a mount on the root")
	case target == c.Rootfs || strings.HasPrefix(target, c.Rootfs+"/"):
		return "", NotExpressible("a mount point by its path on the host")
	case strings.HasPrefix(target, "/proc/") && !slices.Contains(lxcfs[:], target),
		target == "/proc" && m.Device != "proc" && m.Device != "bind":
		return "", NotExpressible("a mount in /proc")
	}
	return target, nil
}

func procFlags(target string) arm.Flags {
	switch {
	case target == "/proc":
		return arm.AtProc
	case strings.HasPrefix(target, "/proc/"):
		return arm.InProc
	}
	return 0
}

// writableAtFirst reports whether a mount becomes read-only only when all is in it.
func writableAtFirst(m *configs.Mount) bool {
	return m.Device == "tmpfs" || path.Clean(m.Destination) == "/dev"
}

// The flags of mount(2) that are about a mount, all but those of its access times, and
// those that are about the file system, by the option that has the same effect.
var (
	mountFlags = [...]struct {
		flag int
		attr uint64
	}{
		{unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY},
		{unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID},
		{unix.MS_NODEV, unix.MOUNT_ATTR_NODEV},
		{unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC},
		{unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW},
	}
	superFlags = [...]struct {
		flag   int
		option string
	}{
		{unix.MS_RDONLY, "ro"},
		{unix.MS_SYNCHRONOUS, "sync"},
		{unix.MS_DIRSYNC, "dirsync"},
		{unix.MS_MANDLOCK, "mand"},
		{unix.MS_LAZYTIME, "lazytime"},
	}
)

const atimeFlags = unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_NODIRATIME

// attributes returns what mount_setattr(2) calls the flags of mount(2), and all that
// they set or clear. Of several access times mount(2) takes the strictest.
func attributes(flags int) (attrs, all uint64) {
	for _, f := range mountFlags {
		all |= f.attr
		if flags&f.flag != 0 {
			attrs |= f.attr
		}
	}
	switch {
	case flags&unix.MS_STRICTATIME != 0:
		attrs |= unix.MOUNT_ATTR_STRICTATIME
	case flags&unix.MS_NOATIME != 0:
		attrs |= unix.MOUNT_ATTR_NOATIME
	}
	if flags&unix.MS_NODIRATIME != 0 {
		attrs |= unix.MOUNT_ATTR_NODIRATIME
	}
	if flags&atimeFlags != 0 { // without them a bind mount keeps those of its source
		all |= unix.MOUNT_ATTR__ATIME | unix.MOUNT_ATTR_NODIRATIME
	}
	return attrs, all
}

func propagation(m *configs.Mount) uint64 {
	if len(m.PropagationFlags) == 0 {
		return 0
	}
	return uint64(m.PropagationFlags[0])
}

// bind returns the step of a bind mount. As with libcontainer, flags replace those of
// the source, unless there are none.
func bind(m *configs.Mount, target string) ([]arm.PlanStep, error) {
	step := arm.PlanStep{Kind: arm.Bind, Path: target, Source: m.Source, Flags: procFlags(target)}
	step.Value[3] = propagation(m)
	if m.Flags&unix.MS_REC != 0 {
		step.Flags |= arm.Recursive
	}
	if m.Flags&^(unix.MS_BIND|unix.MS_REC) != 0 || m.ClearedFlags != 0 {
		attrs, all := attributes(m.Flags)
		step.Flags |= arm.Change
		step.Value[0], step.Value[1] = attrs, all
	}
	if r := m.RecAttr; r != nil {
		if r.Attr_clr != 0 {
			return nil, NotExpressible("mount options that are cleared recursively")
		}
		step.Value[2] = r.Attr_set
	}
	return []arm.PlanStep{step}, nil
}

// fileSystem returns the step that mounts a new file system.
func fileSystem(m *configs.Mount, target string) ([]arm.PlanStep, error) {
	flags := m.Flags &^ unix.MS_REC
	if writableAtFirst(m) {
		flags &^= unix.MS_RDONLY
	}
	step := arm.PlanStep{Kind: arm.Mount, Path: target, Source: m.Source, Type: m.Device, Flags: procFlags(target)}
	switch m.Device {
	case "proc", "sysfs":
		step.Flags |= arm.NoLinks
	case "tmpfs":
		step.Flags |= arm.KeepMode
	case "cgroup":
		step.Type = "cgroup2"
	}
	step.Value[0], _ = attributes(flags)
	step.Value[3] = propagation(m)
	rest := flags &^ atimeFlags
	for _, f := range mountFlags {
		rest &^= f.flag
	}
	for _, f := range superFlags {
		if flags&f.flag != 0 {
			step.Options = append(step.Options, f.option)
		}
		rest &^= f.flag
	}
	if rest != 0 {
		return nil, NotExpressible("options of a mount that only mount(2) takes")
	}
	for option := range strings.SplitSeq(m.Data, ",") {
		if option == "" {
			continue
		}
		if len(option) >= 256 { // fs/fsopen.c
			return nil, NotExpressible("a mount option of 256 bytes or more")
		}
		step.Options = append(step.Options, option)
	}
	return []arm.PlanStep{step}, nil
}

// cgroup1 returns the steps of a mount of type cgroup where there are hierarchies of
// version 1: a tmpfs with a directory for each, and links for those of several
// controllers.
func cgroup1(c *configs.Config, m *configs.Mount, target string, hierarchies []CgroupMount) []arm.PlanStep {
	const attrs = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	steps := []arm.PlanStep{{
		Kind: arm.Mount, Path: target, Source: "tmpfs", Type: "tmpfs", Flags: arm.KeepMode, Options: []string{"mode=755"},
		Value: [4]uint64{attrs, 0, 0, propagation(m)},
	}}
	var links []arm.PlanStep
	for _, h := range hierarchies {
		at := path.Join(target, h.Name)
		if c.Namespaces.Contains(configs.NEWCGROUP) {
			steps = append(steps, cgroup1Root(m, at, h.Name, attrs))
		} else {
			all, clear := attributes(m.Flags)
			step := arm.PlanStep{Kind: arm.Bind, Path: at, Source: h.Own, Flags: arm.Recursive, Value: [4]uint64{0, 0, 0, propagation(m)}}
			if m.Flags != 0 || m.ClearedFlags != 0 {
				step.Flags |= arm.Change
				step.Value[0], step.Value[1] = all, clear
			}
			steps = append(steps, step)
		}
		if strings.Contains(h.Name, ",") {
			for controller := range strings.SplitSeq(h.Name, ",") {
				links = append(links, arm.PlanStep{Kind: arm.Link, Path: path.Join(target, controller), Source: h.Name})
			}
		}
	}
	return append(steps, links...)
}

// cgroup1Root returns the step that mounts a hierarchy, of which a cgroup namespace
// shows the container's cgroup as the root.
func cgroup1Root(m *configs.Mount, at, name string, attrs uint64) arm.PlanStep {
	step := arm.PlanStep{Kind: arm.Mount, Path: at, Source: "cgroup", Type: "cgroup", Value: [4]uint64{attrs}}
	if m.Flags&unix.MS_RDONLY != 0 {
		step.Options = []string{"ro"}
		step.Value[0] |= unix.MOUNT_ATTR_RDONLY
	}
	if name == "systemd" {
		step.Source, name = "systemd", "name=systemd"
	}
	step.Options = append(step.Options, strings.Split(name, ",")...)
	return step
}
