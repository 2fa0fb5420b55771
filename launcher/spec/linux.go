package spec

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
)

// maskedPaths and readonlyPaths hide or freeze what /proc and /sys tell of the
// host and let be changed of it (moby/oci/defaults.go).
var (
	maskedPaths = [...]string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = [...]string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func linux(c *config.Config, host Host, at Container) *specs.Linux {
	l := &specs.Linux{
		CgroupsPath: at.CgroupsPath,
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.MountNamespace},
			{Type: specs.PIDNamespace},
			{Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace},
			{Type: specs.CgroupNamespace},
		},
		Resources: resources(c, host),
	}
	if c.Network == config.NetworkNone {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
		l.Sysctl = map[string]string{
			"net.ipv4.ip_unprivileged_port_start": "0",
			"net.ipv4.ping_group_range":           "0 2147483647",
		}
	}
	if !c.Privileged {
		l.MaskedPaths = maskedPaths[:]
		l.ReadonlyPaths = readonlyPaths[:]
	}
	for _, d := range host.Devices {
		l.Devices = append(l.Devices, d.LinuxDevice)
		if !c.Privileged {
			l.Resources.Devices = append(l.Resources.Devices, specs.LinuxDeviceCgroup{
				Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: d.Access,
			})
		}
	}
	return l
}

// cpuPeriod is the kernel's default CFS period in microseconds.
const cpuPeriod = 100_000

// resources turns the limits into the spec's. The first device rule is for all
// devices: none, or with --privileged any.
func resources(c *config.Config, host Host) *specs.LinuxResources {
	r := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: c.Privileged, Access: "rwm"}},
	}
	if c.Memory != 0 {
		r.Memory = &specs.LinuxMemory{Limit: &c.Memory}
		if host.SwapLimit {
			swap := 2 * c.Memory // Docker's default: as much swap again
			r.Memory.Swap = &swap
		}
	}
	if c.CPUs != 0 {
		quota, period := c.CPUs*cpuPeriod/1e9, uint64(cpuPeriod)
		r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	if c.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &c.Pids}
	}
	return r
}
