package spec

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
)

// mounts returns the container's mounts, parents before children. A mount of the
// flags replaces the default one at its place.
func mounts(c *config.Config, host Host) []specs.Mount {
	all := slices.DeleteFunc(defaultMounts(c, host), func(m specs.Mount) bool {
		return m.Destination == shmDir && c.IPC == config.IPCNone ||
			m.Destination == queueDir && c.IPC == config.IPCHost && host.IDs != nil || // the mount would be the host's, which may not exist
			slices.ContainsFunc(c.Mounts, func(own config.Mount) bool { return own.Target == m.Destination })
	})
	for _, m := range c.Mounts {
		all = append(all, userMount(m, host))
	}
	for _, d := range host.Devices {
		if host.IDs != nil && (d.Path != d.Host || !slices.Contains(everyDevice[:], d.Path)) {
			all = append(all, specs.Mount{Destination: d.Path, Type: "bind", Source: d.Host, Options: []string{"bind", "rprivate"}})
		}
	}
	return all
}

// everyDevice are the nodes that a container has anyway (runtime-spec, config-linux.md,
// "Default Devices").
var everyDevice = [...]string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}

// shmDir is where POSIX shared memory is (shm_overview(7)).
const shmDir = "/dev/shm"

// queueDir is where POSIX message queues are (mq_overview(7)).
const queueDir = "/dev/mqueue"

// defaultMounts returns the mounts that Docker gives every container
// (moby/oci/defaults.go).
func defaultMounts(c *config.Config, host Host) []specs.Mount {
	access := "ro"
	if c.Privileged {
		access = "rw"
	}
	shm := specs.Mount{Destination: shmDir, Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", c.ShmSize)}}
	if c.IPC == config.IPCHost {
		shm = specs.Mount{Destination: shmDir, Type: "bind", Source: shmDir, Options: []string{"rbind", "rprivate"}}
	}
	pts := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if host.IDs == nil || host.IDs.GIDs > ttyGroup {
		pts = append(pts, fmt.Sprintf("gid=%d", ttyGroup))
	}
	all := []specs.Mount{
		kernelMount("/proc", "proc", "", c.HostPID, host),
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: pts},
		kernelMount("/sys", "sysfs", access, !c.Network.Own(), host),
	}
	if host.IDs != nil && !c.Network.Own() && !c.HostCgroup {
		// To mount a cgroup2 on top of the host's, which is there already, fails with
		// EBUSY.
		all = append(all, specs.Mount{Destination: "/sys/fs/cgroup", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "nodev", "mode=755", "size=4k"}})
	}
	return append(all,
		kernelMount("/sys/fs/cgroup", "cgroup", access, c.HostCgroup, host),
		kernelMount(queueDir, "mqueue", "", false, host),
		shm,
	)
}

// ttyGroup is the group of terminals (moby/oci/defaults.go).
const ttyGroup = 5

// kernelMount returns the mount of a file system that shows a namespace. shared says that
// this is the host's. The kernel then requires privileges on the host, which a user
// namespace does not have: there the host's own mount is bound instead.
func kernelMount(path, kind, access string, shared bool, host Host) specs.Mount {
	m := specs.Mount{Destination: path, Type: kind, Source: kind, Options: []string{"nosuid", "noexec", "nodev"}}
	if kind == "cgroup" {
		m.Options = []string{access, "nosuid", "noexec", "nodev"}
	} else if access != "" {
		m.Options = append(m.Options, access)
	}
	if !shared || host.IDs == nil {
		return m
	}
	m.Type, m.Source, m.Options = "bind", path, []string{"rbind", "rprivate", "nosuid", "noexec", "nodev"}
	if access == "ro" {
		m.Options = append(m.Options, "rro") // ro would leave out the mounts below it
	}
	return m
}

func userMount(m config.Mount, host Host) specs.Mount {
	if m.Type == config.Tmpfs {
		return specs.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: m.Options}
	}
	options := []string{"rbind", m.Propagation}
	if m.Recursion == config.RecursionDisabled {
		options[0] = "bind"
	}
	if m.ReadOnly {
		options = append(options, readOnly(m.Recursion, host.RecursiveRO))
	}
	return specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: options}
}

// readOnly returns the option of a read-only bind mount: rro makes the mounts below
// it read-only too. As with Docker that is the default on a kernel that can do it.
func readOnly(r config.Recursion, can bool) string {
	if r == config.RecursionReadOnly || r == config.RecursionEnabled && can {
		return "rro"
	}
	return "ro"
}
