package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/apparmor"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
)

// Inspect finds out what the flags of a launch depend on of this host, and
// refuses those that cannot be had here. It changes nothing. Errors are of type
// [Error].
func Inspect(c *config.Config) (spec.Host, error) {
	var host spec.Host
	var err error
	if host.Hostname, err = os.Hostname(); err != nil {
		return host, err
	}
	if host.Capabilities, err = grantable(c.Capabilities, c.NamedCapabilities); err != nil {
		return host, err
	}
	if most := int64(runtime.NumCPU()) * 1e9; c.CPUs > most {
		return host, &Error{
			Op: fmt.Sprintf("--cpus %g", float64(c.CPUs)/1e9), Err: fmt.Errorf("more than the %d processors of this machine", runtime.NumCPU()),
			Help: "write how many processors' time, for example 0.5",
		}
	}
	for _, m := range c.Mounts {
		if err := checkSource(m); err != nil {
			return host, err
		}
	}
	host.AppArmor = apparmorProfile(c)
	host.SwapLimit = c.Memory != 0 && swapCounts()
	host.RecursiveRO = recursiveReadOnly()
	if c.Privileged {
		host.Devices = hostDevices()
		return host, nil
	}
	for _, d := range c.Devices {
		device, err := deviceNode(d)
		if err != nil {
			return host, &Error{Op: d.Flag, Err: err, Help: "write HOST[:CONTAINER[:rwm]], for example /dev/fuse"}
		}
		host.Devices = append(host.Devices, device)
	}
	return host, nil
}

// grantable trims a bounding set to what this process can give: on a host that
// is itself confined, ALL and --privileged mean all that are left. A capability
// that was asked for by name and cannot be given is an [Error].
func grantable(set, named []string) ([]string, error) {
	own, err := capability.NewPid2(0)
	if err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	if err := own.Load(); err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	granted := make([]string, 0, len(set))
	for _, c := range capability.ListKnown() {
		name := config.CapabilityName(c)
		switch {
		case !slices.Contains(set, name):
		case own.Get(capability.PERMITTED, c) && own.Get(capability.BOUNDING, c):
			granted = append(granted, name)
		case slices.Contains(named, name):
			return nil, &Error{
				Op:   "--cap-add " + name,
				Err:  fmt.Errorf("minirun itself does not hold this capability"),
				Help: "run minirun as root on a host that has it ('capsh --print' shows what there is)",
			}
		}
	}
	slices.Sort(granted)
	return granted, nil
}

// checkSource refuses a bind mount whose source does not exist, except for one
// of -v, which is made at the launch.
func checkSource(m config.Mount) error {
	if m.Type != config.Bind {
		return nil
	}
	_, err := os.Stat(m.Source)
	switch {
	case err == nil || m.Create && errors.Is(err, os.ErrNotExist):
		return nil
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("bind source path does not exist: %s", m.Source)
	}
	return &Error{Op: m.Flag, Err: err}
}

// dockerProfile is the name under which dockerd loads its AppArmor profile.
const dockerProfile = "docker-default"

// apparmorProfile is the one that was asked for, else Docker's where the kernel
// has it, else none.
func apparmorProfile(c *config.Config) string {
	switch {
	case c.AppArmor == "unconfined" || c.Privileged && c.AppArmor == "":
		return ""
	case c.AppArmor != "":
		return c.AppArmor
	case !apparmor.IsEnabled():
		return ""
	}
	loaded, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil || !bytes.Contains(append([]byte("\n"), loaded...), []byte("\n"+dockerProfile+" (")) {
		return ""
	}
	return dockerProfile
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
		file = filepath.Join("/sys/fs/cgroup", own[""], "memory.swap.max")
	}
	_, err := os.Stat(file)
	return err == nil
}

// recursiveReadOnly reports whether the kernel has mount_setattr(2), Linux 5.12.
func recursiveReadOnly() bool {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{})
	return !errors.Is(err, unix.ENOSYS)
}

// deviceNode looks at the node of a --device.
func deviceNode(d config.Device) (spec.Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(d.Host, &st); err != nil {
		return spec.Device{}, err
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return spec.Device{}, errors.New("not a device node")
	}
	mode := os.FileMode(st.Mode & 0o7777)
	return spec.Device{Access: d.Access, LinuxDevice: specs.LinuxDevice{
		Path: d.Target, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
	}}, nil
}

// hostDevices lists every device node of the host's /dev for a privileged
// container, as Docker does, except for those of file systems that the container
// has of its own.
func hostDevices() []spec.Device {
	var devices []spec.Device
	_ = filepath.WalkDir("/dev", func(p string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil // a node that went away, or a directory that cannot be read
		}
		if entry.IsDir() {
			switch p {
			case "/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.udev":
				return filepath.SkipDir
			}
			return nil
		}
		if entry.Type()&os.ModeDevice == 0 || p == "/dev/console" || p == "/dev/ptmx" {
			return nil
		}
		if device, err := deviceNode(config.Device{Host: p, Target: p, Access: "rwm"}); err == nil {
			devices = append(devices, device)
		}
		return nil
	})
	return devices
}
