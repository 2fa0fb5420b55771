package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/moby/sys/mountinfo"
	mobyuserns "github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/apparmor"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
)

// Inspect finds out what the flags of a launch depend on of this host, and
// refuses those that cannot be had here. It changes nothing. Warnings say what
// the container will do without although the flags ask for it. Errors are of
// type [Error].
func Inspect(c *config.Config) (host spec.Host, warnings []string, err error) {
	warn := func(text string) {
		if text != "" {
			warnings = append(warnings, text)
		}
	}
	if host.Hostname, err = os.Hostname(); err != nil {
		return host, nil, err
	}
	if mobyuserns.RunningInUserNS() {
		if host.IDs, err = checkInside(c); err != nil {
			return host, nil, err
		}
	}
	if c.OwnIDs > 0 {
		if host.IDs, err = checkOwnIDs(c); err != nil {
			return host, nil, err
		}
	}
	var lacking []string
	if host.Capabilities, lacking, err = grantable(c.Capabilities, c.NamedCapabilities); err != nil {
		return host, nil, err
	}
	if len(lacking) > 0 {
		warn("not given, as minirun itself does not hold them: " + strings.Join(lacking, " "))
	}
	if err := checkProcessors(c); err != nil {
		return host, nil, err
	}
	for _, m := range c.Mounts {
		if err := checkSource(m); err != nil {
			return host, nil, err
		}
	}
	for name := range c.Sysctls {
		if _, err := os.Stat("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); errors.Is(err, os.ErrNotExist) {
			return host, nil, hint.With(&Error{Op: "--sysctl " + name, Err: errors.New("this kernel has no such parameter")}, "'sysctl -a' lists them")
		}
	}
	confinement, warning, err := apparmorProfile(c, readAppArmor())
	if err != nil {
		return host, nil, err
	}
	host.AppArmor = confinement
	warn(warning)
	if c.Limits.Memory != 0 {
		if host.SwapLimit = swapCounts(); !host.SwapLimit && c.Limits.MemorySwap >= 0 {
			warn("--memory: this kernel does not count swap, which is therefore not limited")
		}
	}
	if !c.Network.Own() && (len(c.Published) > 0 || c.PublishAll) {
		warn("--publish: with --network host the container's ports are this machine's already")
	}
	host.RecursiveRO = recursiveReadOnly()
	if !host.RecursiveRO {
		for _, m := range c.Mounts {
			warning, err := checkReadOnly(m)
			if err != nil {
				return host, nil, err
			}
			warn(warning)
		}
	}
	if err := checkCDI(c.CDIDevices); err != nil {
		return host, nil, err
	}
	host.Devices, err = devices(c)
	return host, warnings, err
}

// checkProcessors refuses more processors than this machine has.
func checkProcessors(c *config.Config) error {
	if cpus := c.Limits.CPUs; cpus > int64(runtime.NumCPU())*1e9 {
		return hint.With(
			&Error{Op: fmt.Sprintf("--cpus %g", float64(cpus)/1e9), Err: fmt.Errorf("more than the %d processors of this machine", runtime.NumCPU())},
			"write how many processors' time, for example 0.5")
	}
	if err := checkSet("--cpuset-cpus", c.Limits.CpusetCPUs, "/sys/devices/system/cpu/online"); err != nil {
		return err
	}
	return checkSet("--cpuset-mems", c.Limits.CpusetMems, "/sys/devices/system/node/online")
}

// checkSet refuses processors or memory nodes that the file does not list. A
// kernel without NUMA has one node, 0, and no such file.
func checkSet(flag, text, file string) error {
	if text == "" {
		return nil
	}
	online := "0"
	if data, err := os.ReadFile(file); err == nil {
		online = strings.TrimSpace(string(data))
	}
	have, err := config.ParseSet(online)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	wanted, err := config.ParseSet(text)
	if err != nil {
		return err
	}
	for n := range wanted {
		if !have[n] {
			return hint.With(&Error{Op: flag + " " + text, Err: fmt.Errorf("this machine has %s", online)}, "choose from these")
		}
	}
	return nil
}

// checkReadOnly is asked of the mounts where the kernel cannot make all below a
// mount read-only.
func checkReadOnly(m config.Mount) (warning string, err error) {
	switch {
	case m.Type != config.Bind || !m.ReadOnly:
	case m.Recursion == config.RecursionReadOnly:
		return "", hint.With(&Error{Op: m.Flag, Err: errors.New("this kernel has no mount_setattr(2)")}, "run Linux 5.12 or later")
	case m.Recursion == config.RecursionEnabled:
		return m.Flag + ": read-only, but not what is mounted below it: this kernel has no mount_setattr(2), Linux 5.12", nil
	}
	return "", nil
}

// grantable trims a bounding set to what this process can give: on a host that
// is itself confined, ALL and --privileged mean all that are left. A capability
// that was asked for by name and cannot be given is an [Error].
func grantable(set, named []string) (granted, lacking []string, err error) {
	own, err := capability.NewPid2(0)
	if err != nil {
		return nil, nil, fmt.Errorf("read own capabilities: %w", err)
	}
	if err := own.Load(); err != nil {
		return nil, nil, hint.With(fmt.Errorf("read own capabilities: %w", err), "/proc must be mounted: mount -t proc proc /proc")
	}
	granted = make([]string, 0, len(set))
	for _, c := range capability.ListKnown() {
		name := capname.Of(c)
		switch {
		case !slices.Contains(set, name):
		case own.Get(capability.PERMITTED, c) && own.Get(capability.BOUNDING, c):
			granted = append(granted, name)
		case slices.Contains(named, name):
			return nil, nil, hint.With(&Error{Op: "--cap-add " + name, Err: errors.New("minirun itself does not hold this capability")},
				"run minirun as root on a host that has it ('capsh --print' shows what there is)")
		default:
			lacking = append(lacking, name)
		}
	}
	slices.Sort(granted)
	return granted, lacking, nil
}

// checkSource refuses a bind mount whose source does not exist, except for one
// of -v, which is made at the launch; and one that asks for mounts of the host
// to come after it where they cannot.
func checkSource(m config.Mount) error {
	if m.Type != config.Bind {
		return nil
	}
	_, err := os.Stat(m.Source)
	switch {
	case err == nil || m.Create && errors.Is(err, os.ErrNotExist):
		err = checkPropagation(m)
	case errors.Is(err, os.ErrNotExist):
		err = hint.With(fmt.Errorf("bind source path does not exist: %s", m.Source), "make it first, or check the path")
	}
	if err != nil {
		return &Error{Op: m.Flag, Err: err}
	}
	return nil
}

// checkPropagation refuses slave and rslave where the source is on a mount that
// does not propagate (mount_namespaces(7)), as Docker does.
func checkPropagation(m config.Mount) error {
	if m.Propagation != "slave" && m.Propagation != "rslave" {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(m.Source))
	if err != nil {
		return err
	}
	on := &mountinfo.Info{}
	for _, info := range mounts { // of several at one place the last is on top
		if len(info.Mountpoint) >= len(on.Mountpoint) {
			on = info
		}
	}
	if !strings.Contains(on.Optional, "shared:") && !strings.Contains(on.Optional, "master:") {
		return hint.With(fmt.Errorf("path %s is mounted on %s but it is not a shared or slave mount", m.Source, on.Mountpoint),
			"leave out "+m.Propagation+", or share the mount first: mount --make-shared "+on.Mountpoint)
	}
	return nil
}

// dockerProfile is the name under which dockerd loads its AppArmor profile.
const dockerProfile = "docker-default"

// loadedProfiles is what the kernel says about AppArmor.
type loadedProfiles struct {
	enabled bool
	known   bool   // whether list could be read
	list    []byte // NAME (MODE), a line each
}

func readAppArmor() loadedProfiles {
	if !apparmor.IsEnabled() {
		return loadedProfiles{}
	}
	list, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	return loadedProfiles{enabled: true, known: err == nil, list: list}
}

func (l loadedProfiles) has(name string) bool {
	return bytes.Contains(append([]byte("\n"), l.list...), []byte("\n"+name+" ("))
}

// apparmorProfile returns the profile that was asked for, else Docker's if the kernel has
// it, else none. As with Docker, a name has no effect without AppArmor, and is an error
// if AppArmor does not know it.
func apparmorProfile(c *config.Config, loaded loadedProfiles) (profile, warning string, err error) {
	switch {
	case c.AppArmor == "unconfined" || c.Privileged && c.AppArmor == "":
		return "", "", nil
	case c.AppArmor == "" && loaded.has(dockerProfile):
		return dockerProfile, "", nil
	case c.AppArmor == "":
		return "", "", nil
	case !loaded.enabled:
		return "", "--security-opt apparmor=" + c.AppArmor + ": AppArmor is not enabled here, so no profile confines the container", nil
	case loaded.known && !loaded.has(c.AppArmor):
		return "", "", hint.With(&Error{Op: "--security-opt apparmor=" + c.AppArmor, Err: errors.New("the profile is not loaded")},
			"load it with apparmor_parser(8); aa-status(8) lists those that are")
	}
	return c.AppArmor, "", nil
}

// swapCounts reports whether swap can be limited, found out as Docker does: a
// kernel without swap, or without accounting for it, lacks the file.
func swapCounts() bool {
	file := "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
	if cgroups.IsCgroup2UnifiedMode() {
		own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
		if err != nil {
			return false
		}
		cgroup := own[""]
		if scope := ScopeParent(); scope != "" { // the container's is beside this process's
			cgroup = scope
		}
		file = filepath.Join("/sys/fs/cgroup", cgroup, "memory.swap.max")
		if cgroup == "/" { // the root has no limits, but those below it
			file = "/sys/fs/cgroup/*/memory.swap.max"
		}
	}
	found, err := filepath.Glob(file)
	return err == nil && len(found) > 0
}

// recursiveReadOnly reports whether the kernel has mount_setattr(2), Linux 5.12.
func recursiveReadOnly() bool {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{})
	return !errors.Is(err, unix.ENOSYS)
}
