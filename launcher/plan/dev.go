package plan

import (
	"path"

	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/arm"
)

// ownDev reports whether the container's /dev is its own, not one of the host's.
func ownDev(c *configs.Config) bool {
	for _, m := range c.Mounts {
		if m.Device == "bind" && path.Clean(m.Destination) == "/dev" {
			return false
		}
	}
	return true
}

// dev returns the steps that fill /dev.
func dev(c *configs.Config, host Host) []arm.PlanStep {
	if !ownDev(c) {
		return nil
	}
	var steps []arm.PlanStep
	for _, d := range c.Devices {
		if d.Path == "" || path.Clean(d.Path) == "/dev/ptmx" {
			continue // a device rule's, or the link below
		}
		if host.UserNamespace {
			steps = append(steps, arm.PlanStep{Kind: arm.Bind, Path: path.Clean(d.Path), Source: d.Path})
			continue
		}
		steps = append(steps, node(d))
	}
	link := func(name, to string, flags arm.Flags) {
		steps = append(steps, arm.PlanStep{Kind: arm.Link, Path: "/dev/" + name, Source: to, Flags: flags})
	}
	link("ptmx", "pts/ptmx", arm.Replace)
	link("fd", "/proc/self/fd", 0)
	link("stdin", "/proc/self/fd/0", 0)
	link("stdout", "/proc/self/fd/1", 0)
	link("stderr", "/proc/self/fd/2", 0)
	if host.Kcore {
		link("core", "/proc/kcore", 0)
	}
	return steps
}

func node(d *devices.Device) arm.PlanStep {
	kind := uint32(unix.S_IFCHR)
	switch d.Type {
	case devices.BlockDevice:
		kind = unix.S_IFBLK
	case devices.FifoDevice:
		kind = unix.S_IFIFO
	}
	number := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	return arm.PlanStep{
		Kind: arm.Node, Path: path.Clean(d.Path), Mode: kind | uint32(d.FileMode)&0o7777,
		Value: [4]uint64{number, uint64(d.Uid), uint64(d.Gid)},
	}
}
