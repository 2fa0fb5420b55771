package launcher

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/types"
)

// Stats returns what an engine's container uses, to be written as JSON: the data of
// runc's events, as containerd and cAdvisor read them.
func (c *Container) Stats() (any, error) {
	engine, err := c.load()
	if err != nil {
		return nil, err
	}
	stats, err := engine.Stats()
	if err != nil {
		return nil, err
	}
	if stats.CgroupStats == nil {
		return nil, fmt.Errorf("container %s has no cgroup", c.state.Name)
	}
	s := cgroupStats(stats.CgroupStats)
	s.NetworkInterfaces = stats.Interfaces
	return s, nil
}

func cgroupStats(c *cgroups.Stats) *types.Stats {
	usage, throttling := c.CpuStats.CpuUsage, c.CpuStats.ThrottlingData
	s := &types.Stats{
		Pids: types.Pids{Current: c.PidsStats.Current, Limit: c.PidsStats.Limit},
		CPU: types.Cpu{
			Usage: types.CpuUsage{
				Total: usage.TotalUsage, Percpu: usage.PercpuUsage,
				PercpuKernel: usage.PercpuUsageInKernelmode, PercpuUser: usage.PercpuUsageInUsermode,
				Kernel: usage.UsageInKernelmode, User: usage.UsageInUsermode,
			},
			Throttling: types.Throttling{
				Periods: throttling.Periods, ThrottledPeriods: throttling.ThrottledPeriods, ThrottledTime: throttling.ThrottledTime,
			},
			PSI: c.CpuStats.PSI,
		},
		CPUSet: types.CPUSet(c.CPUSetStats),
		Memory: types.Memory{
			Cache: c.MemoryStats.Cache, Usage: memory(c.MemoryStats.Usage), Swap: memory(c.MemoryStats.SwapUsage),
			Kernel: memory(c.MemoryStats.KernelUsage), KernelTCP: memory(c.MemoryStats.KernelTCPUsage),
			Raw: c.MemoryStats.Stats, PSI: c.MemoryStats.PSI,
		},
		Blkio: types.Blkio{
			IoServiceBytesRecursive: entries(c.BlkioStats.IoServiceBytesRecursive),
			IoServicedRecursive:     entries(c.BlkioStats.IoServicedRecursive),
			IoQueuedRecursive:       entries(c.BlkioStats.IoQueuedRecursive),
			IoServiceTimeRecursive:  entries(c.BlkioStats.IoServiceTimeRecursive),
			IoWaitTimeRecursive:     entries(c.BlkioStats.IoWaitTimeRecursive),
			IoMergedRecursive:       entries(c.BlkioStats.IoMergedRecursive),
			IoTimeRecursive:         entries(c.BlkioStats.IoTimeRecursive),
			SectorsRecursive:        entries(c.BlkioStats.SectorsRecursive),
			PSI:                     c.BlkioStats.PSI,
		},
		Hugetlb: map[string]types.Hugetlb{},
	}
	for size, h := range c.HugetlbStats {
		s.Hugetlb[size] = types.Hugetlb{Usage: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt}
	}
	return s
}

func memory(m cgroups.MemoryData) types.MemoryEntry {
	return types.MemoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
}

func entries(list []cgroups.BlkioStatEntry) []types.BlkioEntry {
	all := make([]types.BlkioEntry, len(list))
	for i, e := range list {
		all[i] = types.BlkioEntry(e)
	}
	return all
}
