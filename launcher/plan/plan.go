// Package plan turns libcontainer's configuration of a container into the steps that
// init carries out in C ([arm.WritePlan]), or says why that cannot be: then
// libcontainer's own init sets the container up.
//
// The steps do what libcontainer's init does (standard_init_linux.go, rootfs_linux.go),
// in the same order. libcontainer makes and checks the configuration, runs what a plan
// cannot express, and is what tests compare with.
package plan

import (
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/launcher/arm"
)

// NotExpressible says what of a container no plan can express.
type NotExpressible string

func (e NotExpressible) Error() string { return "not expressible: " + string(e) }

// Container is a container to make a plan for.
type Container struct {
	ID      string // names the session keyring
	Config  *configs.Config
	Process *libcontainer.Process
	Console int  // the number of the process's ConsoleSocket in init
	Joined  int  // that of the first of the namespaces that init joins ([Plan.Joined])
	Filter  bool // whether init is to install a seccomp filter
	Users   bool // the launcher has made its user namespace, and sets the limits of its process
}

// Plan is what init does, and the namespaces in which it is started.
type Plan struct {
	Cloned uintptr  // CLONE_NEW* that the start of init makes
	Joined []string // namespaces that exist, which init gets as open files, one after another
	Opened []Source // sources of bind mounts that init gets as open files, after these
	Forks  bool     // init is a child of the process that is started, which ends ([arm.Page.Init])
	Steps  []arm.PlanStep
}

// Source is the source of a bind mount which the launcher opens, for an init that may not
// reach it.
type Source struct {
	Path      string
	Recursive bool   // with all that is mounted below it
	Target    string // where in the container it is mounted
}

// New makes the plan of a container. It looks at nothing but its arguments. An error is
// a [NotExpressible].
func New(c Container, host Host) (*Plan, error) {
	if why := unsupported(c.Config, c.Process); why != "" {
		return nil, NotExpressible(why)
	}
	cloned, unshared, joined, err := namespaces(c)
	if err != nil {
		return nil, err
	}
	p := &Plan{Cloned: cloned}
	for _, s := range joined {
		p.Joined = append(p.Joined, s.Path)
	}
	devices := dev(c.Config, host)
	mounts, err := mounts(c.Config, host)
	if err != nil {
		return nil, err
	}
	own := arm.PlanStep{Kind: arm.Namespaces, Value: [4]uint64{uint64(unshared)}}
	first := slices.Concat([]arm.PlanStep{own}, joined)
	if c.Users {
		p.joinUsers(joined)
		first = append(joined, own)
		p.open(c, mounts)
		p.open(c, devices)
	}
	p.Steps = slices.Concat(
		first,
		before(c),
		[]arm.PlanStep{{Kind: arm.Root, Path: c.Config.Rootfs}},
		mounts,
		devices,
		hooks(c.Config),
		[]arm.PlanStep{{Kind: arm.Pivot}},
		inside(c),
		process(c, host),
	)
	return p, nil
}

// joinUsers makes init join its user namespace last of the existing ones: from then on it
// has privileges only over what belongs to that namespace. Its PID namespace is made after
// that, so that it belongs to the user namespace.
func (p *Plan) joinUsers(joined []arm.PlanStep) {
	users := func(s arm.PlanStep) bool { return s.Value[0] == unix.CLONE_NEWUSER }
	slices.SortStableFunc(joined, func(a, b arm.PlanStep) int {
		switch {
		case users(a) == users(b):
			return 0
		case users(a):
			return 1
		}
		return -1
	})
	last := &joined[len(joined)-1]
	last.Kind, last.Value[0] = arm.Users, uint64(p.Cloned)
	p.Forks, p.Cloned = p.Cloned != 0, 0
}

// open makes the launcher open the sources of bind mounts.
func (p *Plan) open(c Container, mounts []arm.PlanStep) {
	for i, s := range mounts {
		if s.Kind != arm.Bind {
			continue
		}
		mounts[i].Flags |= arm.Opened
		mounts[i].Mode = uint32(c.Joined + len(p.Joined) + len(p.Opened))
		p.Opened = append(p.Opened, Source{s.Source, s.Flags&arm.Recursive != 0, s.Path})
	}
}

// Hooks are those that the launcher runs while init waits, in this order.
func Hooks() []configs.HookName { return []configs.HookName{configs.Prestart, configs.CreateRuntime} }

func hooks(c *configs.Config) []arm.PlanStep {
	if !c.HasHook(Hooks()...) {
		return nil
	}
	return []arm.PlanStep{{Kind: arm.Hooks}}
}

// unsupported returns what of a configuration no plan can express, or "".
func unsupported(c *configs.Config, p *libcontainer.Process) string {
	hooks := 0
	for name, list := range c.Hooks {
		if !slices.Contains(Hooks(), name) {
			hooks += len(list)
		}
	}
	for _, f := range []struct {
		set  bool
		what string
	}{
		{hooks > 0, "hooks in the container, or after its start or end"},
		{c.NoPivotRoot, "a root without pivot_root"},
		{c.RootPropagation != 0, "propagation of the root"},
		{c.MountLabel != "" || c.ProcessLabel != "" || p.Label != "", "SELinux labels"},
		{len(c.NetDevices) > 0, "network devices"},
		{len(c.Routes) > 0, "routes"},
		{slices.ContainsFunc(c.Networks, func(n *configs.Network) bool { return n.Type != "loopback" }), "network interfaces"},
		{c.Seccomp != nil, "a filter of libcontainer's"},
		{c.NoNewKeyring, "no session keyring"},
		{c.IntelRdt != nil, "Intel RDT"},
		{c.MemoryPolicy != nil, "a memory policy"},
		{c.RootlessEUID || c.RootlessCgroups, "a launcher that is not root"},
		{len(c.TimeOffsets) > 0, "time offsets"},
		{c.Scheduler != nil || p.Scheduler != nil, "a scheduler"},
		{c.Personality != nil, "a personality"},
		{c.IOPriority != nil || p.IOPriority != nil, "an I/O priority"},
		{c.ExecCPUAffinity != nil || p.CPUAffinity != nil, "a CPU affinity"},
		{c.Capabilities == nil && p.Capabilities == nil, "capabilities that are not set"},
		{p.PidfdSocket != nil, "a socket for the pidfd"},
		{len(p.SubCgroupPaths) > 0, "cgroups of the process"},
		{slices.ContainsFunc(p.Env, func(e string) bool { return strings.IndexByte(e, '=') <= 0 }), "an environment variable without a name or value"},
	} {
		if f.set {
			return f.what
		}
	}
	return ""
}

// namespaces returns the namespaces that init is started in, those that it makes itself,
// and the steps to join existing ones. Init makes its cgroup namespace itself: it has to be
// in its cgroup, which becomes the root of that namespace.
func namespaces(c Container) (cloned, unshared uintptr, joined []arm.PlanStep, err error) {
	for _, ns := range c.Config.Namespaces {
		switch {
		case ns.Type == configs.NEWUSER && !c.Users || ns.Type == configs.NEWTIME:
			return 0, 0, nil, NotExpressible("a namespace of type " + string(ns.Type))
		case ns.Path != "" && (ns.Type == configs.NEWPID || ns.Type == configs.NEWNS): // a PID namespace is for children
			return 0, 0, nil, NotExpressible("a namespace that exists of type " + string(ns.Type))
		case ns.Path != "":
			joined = append(joined, arm.PlanStep{
				Kind: arm.Join, Path: ns.Path, Mode: uint32(c.Joined + len(joined)), Value: [4]uint64{uint64(ns.Syscall())},
			})
		case ns.Type == configs.NEWPID:
			cloned |= unix.CLONE_NEWPID
		default:
			unshared |= uintptr(ns.Syscall())
		}
	}
	if unshared&unix.CLONE_NEWNS == 0 {
		return 0, 0, nil, NotExpressible("the host's mount namespace")
	}
	return cloned, unshared, joined, nil
}

// before returns the other steps that come before the root.
func before(c Container) []arm.PlanStep {
	var steps []arm.PlanStep
	if c.Config.OomScoreAdj != nil && !c.Users {
		steps = append(steps, arm.PlanStep{Kind: arm.OOMScore, Path: strconv.Itoa(*c.Config.OomScoreAdj)})
	}
	searchable := uint32(0x80000) // KEY_USR_SEARCH: by its owner, as libcontainer has it,
	if c.Config.Namespaces.Contains(configs.NEWUSER) {
		searchable = 0x8 // and KEY_OTH_SEARCH there
	}
	steps = append(steps, arm.PlanStep{Kind: arm.Keyring, Path: "_ses." + c.ID, Mode: searchable})
	if len(c.Config.Networks) > 0 {
		steps = append(steps, arm.PlanStep{Kind: arm.Loopback})
	}
	return steps
}

// inside returns the steps in the container that concern all of it.
func inside(c Container) []arm.PlanStep {
	var steps []arm.PlanStep
	add := func(s arm.PlanStep) { steps = append(steps, s) }
	if ownDev(c.Config) {
		add(arm.PlanStep{Kind: arm.Null})
	}
	if c.Process.Cwd != "" {
		add(arm.PlanStep{Kind: arm.Directory, Path: c.Process.Cwd, Mode: 0o755})
	}
	if p := c.Process; p.ConsoleSocket != nil {
		add(arm.PlanStep{Kind: arm.Console, Mode: uint32(c.Console), Value: [4]uint64{uint64(p.ConsoleWidth), uint64(p.ConsoleHeight)}})
	}
	for _, m := range c.Config.Mounts {
		if m.Flags&unix.MS_RDONLY != 0 && writableAtFirst(m) {
			add(arm.PlanStep{Kind: arm.ReadOnly, Path: path.Clean(m.Destination)})
		}
	}
	if c.Config.Readonlyfs {
		add(arm.PlanStep{Kind: arm.ReadOnly, Path: "/"})
	}
	umask := uint32(0o022)
	if c.Config.Umask != nil {
		umask = *c.Config.Umask
	}
	add(arm.PlanStep{Kind: arm.Umask, Mode: umask})
	if c.Config.Hostname != "" {
		add(arm.PlanStep{Kind: arm.HostName, Path: c.Config.Hostname})
	}
	if c.Config.Domainname != "" {
		add(arm.PlanStep{Kind: arm.DomainName, Path: c.Config.Domainname})
	}
	if c.Process.AppArmorProfile != "" {
		add(arm.PlanStep{Kind: arm.AppArmor, Path: "exec " + c.Process.AppArmorProfile})
	}
	for _, key := range slices.Sorted(maps.Keys(c.Config.Sysctl)) {
		add(arm.PlanStep{Kind: arm.Sysctl, Path: "sys/" + strings.ReplaceAll(key, ".", "/"), Source: c.Config.Sysctl[key]})
	}
	for _, p := range c.Config.ReadonlyPaths {
		add(arm.PlanStep{Kind: arm.Protect, Path: p})
	}
	return append(steps, masks(c.Config.MaskPaths)...)
}

// masks returns the steps that hide paths. A directory is hidden by the tmpfs that the
// step describes.
func masks(paths []string) []arm.PlanStep {
	var steps []arm.PlanStep
	done := map[string]bool{}
	for _, p := range paths {
		if clean := path.Clean(p); !done[clean] {
			done[clean] = true
			steps = append(steps, arm.PlanStep{
				Kind: arm.Mask, Path: p, Type: "tmpfs", Source: "tmpfs", Options: []string{"ro", "nr_blocks=1", "nr_inodes=1"},
				Value: [4]uint64{unix.MOUNT_ATTR_RDONLY},
			})
		}
	}
	return steps
}

// process returns the steps that concern the process alone.
func process(c Container, host Host) []arm.PlanStep {
	var steps []arm.PlanStep
	add := func(s arm.PlanStep) { steps = append(steps, s) }
	p := c.Process
	if p.NoNewPrivileges != nil && *p.NoNewPrivileges || p.NoNewPrivileges == nil && c.Config.NoNewPrivileges {
		add(arm.PlanStep{Kind: arm.NoNewPrivs})
	}
	limits := c.Config.Rlimits
	if len(p.Rlimits) > 0 {
		limits = p.Rlimits
	}
	if c.Users {
		limits = nil
	}
	for _, l := range limits {
		add(arm.PlanStep{Kind: arm.Rlimit, Number: uint32(l.Type), Value: [4]uint64{l.Soft, l.Hard}})
	}
	if c.Filter {
		add(arm.PlanStep{Kind: arm.Arm})
	}
	caps := c.Config.Capabilities
	if p.Capabilities != nil {
		caps = p.Capabilities
	}
	cwd := p.Cwd
	if cwd == "" {
		cwd = "/"
	}
	user := arm.PlanStep{Kind: arm.User, Value: [4]uint64{uint64(p.UID), uint64(p.GID)}}
	if host.GroupsDenied {
		user.Flags |= arm.KeepGroups
	}
	for _, gid := range p.AdditionalGroups {
		user.Groups = append(user.Groups, uint32(gid))
	}
	add(arm.PlanStep{Kind: arm.Enter, Path: cwd, Flags: arm.Later})
	add(arm.PlanStep{Kind: arm.Bounding, Value: [4]uint64{set(caps.Bounding)}})
	add(user)
	add(arm.PlanStep{Kind: arm.Enter, Path: cwd})
	add(arm.PlanStep{Kind: arm.Capabilities, Value: [4]uint64{set(caps.Effective), set(caps.Permitted), set(caps.Inheritable), set(caps.Ambient)}})
	add(arm.PlanStep{Kind: arm.Command, Path: lookUpPath(p.Env)})
	return steps
}

// set returns a bit for each capability that the kernel has, by its name.
func set(names []string) uint64 {
	var bits uint64
	known, _ := capability.ListSupported()
	for _, c := range known {
		if slices.Contains(names, capname.Of(c)) {
			bits |= 1 << c
		}
	}
	return bits
}

// lookUpPath returns the PATH of an environment, of which the last one counts. Its
// directories are cleaned, since a script finds its own path in $0.
func lookUpPath(env []string) string {
	for _, e := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(e, "PATH="); ok && value != "" {
			dirs := strings.Split(value, ":")
			for i := range dirs {
				dirs[i] = path.Clean(dirs[i])
			}
			return strings.Join(dirs, ":")
		} else if ok {
			return ""
		}
	}
	return ""
}

// Write puts the plan into a file for init ([arm.WritePlan]).
func (p *Plan) Write() (*os.File, error) { return arm.WritePlan(p.Steps) }
