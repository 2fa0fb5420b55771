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
	all := slices.DeleteFunc(defaultMounts(c), func(m specs.Mount) bool {
		return m.Destination == shmDir && c.IPC == config.IPCNone ||
			slices.ContainsFunc(c.Mounts, func(own config.Mount) bool { return own.Target == m.Destination })
	})
	for _, m := range c.Mounts {
		all = append(all, userMount(m, host))
	}
	return all
}

// shmDir is where POSIX shared memory is (shm_overview(7)).
const shmDir = "/dev/shm"

// defaultMounts returns the mounts that Docker gives every container
// (moby/oci/defaults.go).
func defaultMounts(c *config.Config) []specs.Mount {
	access := "ro"
	if c.Privileged {
		access = "rw"
	}
	shm := specs.Mount{Destination: shmDir, Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", c.ShmSize)}}
	if c.IPC == config.IPCHost {
		shm = specs.Mount{Destination: shmDir, Type: "bind", Source: shmDir, Options: []string{"rbind", "rprivate"}}
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{access, "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		shm,
	}
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
