package launcher

import (
	"os"
	"path/filepath"
	"slices"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
)

// Update changes the limits of an engine's container. Limits that r leaves out do not
// change, and device rules never do.
func (c *Container) Update(r *specs.LinuxResources) error {
	engine, err := c.load()
	if err != nil {
		return err
	}
	config := engine.Config()
	now := *config.Cgroups.Resources
	updateMemory(&now, r.Memory)
	updateCPU(&now, r.CPU)
	updateBlockIO(&now, r.BlockIO)
	now.PidsLimit = nil
	if r.Pids != nil {
		now.PidsLimit = r.Pids.Limit
	}
	now.Unified = r.Unified
	cgroup := *config.Cgroups
	cgroup.Resources, config.Cgroups = &now, &cgroup
	now.SkipDevices = true // an engine's plug-in may have changed them
	return engine.Set(config)
}

// SetLimits gives a launcher's container the limits that flags now ask for: those that it was
// launched with, changed. They also become those of its next start. The error is
// [ErrNoCgroup] where nothing can limit it.
func (c *Container) SetLimits(flags *config.Config) error {
	guard, err := flock.Open(filepath.Dir(c.dir), unix.LOCK_EX) // two at a time would undo each other's work
	if err != nil {
		return err
	}
	defer guard.Close()
	if err := checkProcessors(flags); err != nil {
		return err
	}
	if c.state.Status == StatusRunning {
		cm, err := c.manager()
		if err == nil {
			err = cm.Set(resourcesOf(flags))
		}
		if err != nil {
			return c.failed("update", err)
		}
	}
	return c.noteFlags(flags.Given)
}

// resourcesOf returns the limits as cgroups has them. One that has been given as no limit
// is set, too: it takes an earlier one away.
func resourcesOf(flags *config.Config) *cgroups.Resources {
	limits := spec.Limits(flags.Limits, swapCounts())
	now := &cgroups.Resources{SkipDevices: true}
	updateMemory(now, limits.Memory)
	updateCPU(now, limits.CPU)
	if flags.Given["cpu-quota"] != nil && flags.Limits.CPUQuota == 0 {
		now.CpuQuota = -1
	}
	if flags.Given["pids-limit"] != nil {
		pids := flags.Limits.Pids
		if pids <= 0 {
			pids = -1
		}
		now.PidsLimit = &pids
	}
	return now
}

// noteFlags writes down the flags that a container has now been launched with.
func (c *Container) noteFlags(flags config.Flags) error {
	l, err := c.Launch()
	if err != nil {
		return err
	}
	l.Flags = flags
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	file := c.state.launchFile()
	err = atomicfile.Write(file, data, 0o600)
	if _, gone := os.Lstat(c.dir); gone != nil { // it has ended, and been removed, meanwhile
		_ = os.Remove(file)
	}
	return err
}

// set sets a field to a value, unless the value is nil.
func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

func updateMemory(now *cgroups.Resources, m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	set(&now.Memory, m.Limit)
	set(&now.MemoryReservation, m.Reservation)
	set(&now.MemoryCheckBeforeUpdate, m.CheckBeforeUpdate)
	if m.Limit != nil && *m.Limit == -1 && m.Swap == nil {
		now.MemorySwap = 0 // a limit of swap needs one of memory
	}
	set(&now.MemorySwap, m.Swap)
}

func updateCPU(now *cgroups.Resources, c *specs.LinuxCPU) {
	now.CPUIdle, now.CpuBurst, now.CpusetCpus, now.CpusetMems = nil, nil, "", "" // these are not set again
	if c == nil {
		return
	}
	// systemd and cgroup v2 take quota and period together: one that is left out is the
	// old one.
	set(&now.CpuPeriod, c.Period)
	set(&now.CpuQuota, c.Quota)
	set(&now.CpuRtPeriod, c.RealtimePeriod)
	set(&now.CpuRtRuntime, c.RealtimeRuntime)
	now.CPUIdle, now.CpuBurst, now.CpusetCpus, now.CpusetMems = c.Idle, c.Burst, c.Cpus, c.Mems
	switch {
	case c.Shares != nil:
		now.CpuShares = *c.Shares
		now.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares)
	case c.Idle != nil: // an idle cgroup has no weight
		now.CpuShares, now.CpuWeight = 0, 0
	}
}

func updateBlockIO(now *cgroups.Resources, b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	set(&now.BlkioWeight, b.Weight)
	set(&now.BlkioLeafWeight, b.LeafWeight)
	for _, d := range b.WeightDevice {
		now.BlkioWeightDevice = updateWeight(now.BlkioWeightDevice, d)
	}
	for _, list := range []struct {
		now    *[]*cgroups.ThrottleDevice
		update []specs.LinuxThrottleDevice
	}{
		{&now.BlkioThrottleReadBpsDevice, b.ThrottleReadBpsDevice},
		{&now.BlkioThrottleWriteBpsDevice, b.ThrottleWriteBpsDevice},
		{&now.BlkioThrottleReadIOPSDevice, b.ThrottleReadIOPSDevice},
		{&now.BlkioThrottleWriteIOPSDevice, b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range list.update {
			*list.now = slices.DeleteFunc(*list.now, func(old *cgroups.ThrottleDevice) bool { return old.Major == d.Major && old.Minor == d.Minor })
			*list.now = append(*list.now, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
	}
}

func updateWeight(list []*cgroups.WeightDevice, d specs.LinuxWeightDevice) []*cgroups.WeightDevice {
	i := slices.IndexFunc(list, func(old *cgroups.WeightDevice) bool { return old.Major == d.Major && old.Minor == d.Minor })
	if i < 0 {
		i, list = len(list), append(list, cgroups.NewWeightDevice(d.Major, d.Minor, 0, 0))
	}
	set(&list[i].Weight, d.Weight)
	set(&list[i].LeafWeight, d.LeafWeight)
	return list
}
