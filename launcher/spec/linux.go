package spec

import (
	"fmt"
	"maps"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
)

// maskedPaths and readonlyPaths keep the container from reading and changing the
// host through /proc and /sys (moby/oci/defaults.go).
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
		Namespaces:  namespaces(c),
		Resources:   resources(c, host),
		Sysctl:      map[string]string{},
	}
	if c.Network.Own() && c.Network.Container() == "" {
		l.Sysctl["net.ipv4.ip_unprivileged_port_start"] = "0"
		l.Sysctl["net.ipv4.ping_group_range"] = "0 2147483647"
		if host.IDs != nil { // the kernel refuses groups that do not exist there
			l.Sysctl["net.ipv4.ping_group_range"] = fmt.Sprintf("0 %d", host.IDs.GIDs-1)
		}
	}
	maps.Copy(l.Sysctl, c.Sysctls)
	if !c.Privileged && !c.Unmasked {
		l.MaskedPaths = maskedPaths[:]
		l.ReadonlyPaths = readonlyPaths[:]
	}
	for _, d := range host.Devices {
		if host.IDs == nil { // in a user namespace no nodes can be made: they are mounts
			l.Devices = append(l.Devices, d.LinuxDevice)
		}
		if !c.Privileged {
			l.Resources.Devices = append(l.Resources.Devices, specs.LinuxDeviceCgroup{
				Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: d.Access,
			})
		}
	}
	for _, r := range c.DeviceRules {
		l.Resources.Devices = append(l.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: r.Type, Major: number(r.Major), Minor: number(r.Minor), Access: r.Access,
		})
	}
	return l
}

// number returns a device's number, or nil for any.
func number(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// namespaces returns the namespaces that are the container's own.
func namespaces(c *config.Config) []specs.LinuxNamespace {
	var own []specs.LinuxNamespace
	if c.OwnIDs > 0 {
		own = append(own, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	for _, ns := range []struct {
		kind specs.LinuxNamespaceType
		host bool
	}{
		{specs.MountNamespace, false},
		{specs.PIDNamespace, c.HostPID},
		{specs.IPCNamespace, c.IPC == config.IPCHost},
		{specs.UTSNamespace, c.HostUTS},
		{specs.CgroupNamespace, c.HostCgroup},
		{specs.NetworkNamespace, !c.Network.Own()},
	} {
		if !ns.host {
			own = append(own, specs.LinuxNamespace{Type: ns.kind})
		}
	}
	return own
}

// cpuPeriod is the kernel's default CFS period in microseconds.
const cpuPeriod = 100_000

// resources returns the limits of the cgroup. The first device rule is about all
// devices: it denies them, or allows them with --privileged.
func resources(c *config.Config, host Host) *specs.LinuxResources {
	r := Limits(c.Limits, host.SwapLimit)
	r.Devices = []specs.LinuxDeviceCgroup{{Allow: c.Privileged, Access: "rwm"}}
	return r
}

// Limits returns limits as the runtime spec has them, without device rules. swap says whether
// the kernel counts swap.
func Limits(l config.Limits, swap bool) *specs.LinuxResources {
	r := &specs.LinuxResources{Memory: memory(l, swap)}
	if l.CPUs != 0 {
		l.CPUQuota, l.CPUPeriod = l.CPUs*cpuPeriod/1e9, cpuPeriod
	}
	cpu := specs.LinuxCPU{Cpus: l.CpusetCPUs, Mems: l.CpusetMems}
	if l.CPUQuota != 0 {
		cpu.Quota = &l.CPUQuota
	}
	if l.CPUPeriod != 0 {
		period := uint64(l.CPUPeriod)
		cpu.Period = &period
	}
	if l.CPUShares != 0 {
		shares := uint64(l.CPUShares)
		cpu.Shares = &shares
	}
	if cpu != (specs.LinuxCPU{}) {
		r.CPU = &cpu
	}
	if l.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &l.Pids}
	}
	return r
}

// memory returns the limits of memory, or nil if there are none. Docker's default is
// that as much swap can be used as memory.
func memory(l config.Limits, swap bool) *specs.LinuxMemory {
	var m specs.LinuxMemory
	if l.Memory != 0 {
		m.Limit = &l.Memory
	}
	if l.MemorySwap == 0 {
		l.MemorySwap = 2 * l.Memory
	}
	if l.MemorySwap != 0 && swap {
		m.Swap = &l.MemorySwap
	}
	if l.MemoryReservation != 0 {
		m.Reservation = &l.MemoryReservation
	}
	if m == (specs.LinuxMemory{}) {
		return nil
	}
	return &m
}
