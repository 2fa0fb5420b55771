package launcher

/*
#include "kept.h"
*/
import "C"

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/opencontainers/cgroups"
)

// limit is a file of a cgroup's, by the controller that it belongs to.
type limit struct {
	set              bool
	controller, file string
	optional         bool // a kernel that does not count swap has none
}

// limits are the files that say what a container may use at most. C writes what can be read
// there now, and makes sure that it can be read there again.
func (w *keptWriter) limits(s *keptList) {
	r := *w.l.cgroup.config.Resources
	memory, period := r.Memory != 0 || r.MemorySwap != 0, r.CpuQuota != 0 || r.CpuPeriod != 0
	// In this order the kernel takes them: swap can be limited when memory is.
	files := []limit{
		{r.PidsLimit != nil, "pids", "pids.max", false},
		{memory, "memory", "memory.limit_in_bytes", false},
		{memory, "memory", "memory.memsw.limit_in_bytes", true},
		{r.MemoryReservation != 0, "memory", "memory.soft_limit_in_bytes", false},
		{r.CpuShares != 0, "cpu", "cpu.shares", false},
		{period, "cpu", "cpu.cfs_period_us", false},
		{period, "cpu", "cpu.cfs_quota_us", false},
		{r.CpusetCpus != "", "cpuset", "cpuset.cpus", false},
		{r.CpusetMems != "", "cpuset", "cpuset.mems", false},
	}
	if cgroups.IsCgroup2UnifiedMode() {
		files = []limit{
			{r.PidsLimit != nil, "", "pids.max", false},
			{memory, "", "memory.swap.max", true},
			{memory, "", "memory.max", false},
			{r.MemoryReservation != 0, "", "memory.low", false},
			{r.CpuShares != 0 || r.CpuWeight != 0, "", "cpu.weight", false},
			{period, "", "cpu.max", false},
			{r.CpusetCpus != "", "", "cpuset.cpus", false},
			{r.CpusetMems != "", "", "cpuset.mems", false},
		}
	}
	r.Devices, r.PidsLimit, r.CpusetCpus, r.CpusetMems = nil, nil, "", ""
	r.Memory, r.MemorySwap, r.MemoryReservation = 0, 0, 0
	r.CpuShares, r.CpuWeight, r.CpuPeriod, r.CpuQuota = 0, 0, 0, 0
	if !reflect.DeepEqual(r, cgroups.Resources{}) {
		w.fail("limits of the cgroup: %+v", r)
	}
	for _, f := range files {
		if f.set {
			w.limit(s, filepath.Join(w.l.cgroup.paths()[f.controller], f.file), f.optional)
		}
	}
}

func (w *keptWriter) limit(s *keptList, file string, optional bool) {
	value, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return
	}
	if err != nil {
		w.fail("%v", err)
	}
	s.add(C.KEPT_WRITE, 0, file, "", strings.TrimSuffix(string(value), "\n"))
	s.add(C.KEPT_EXPECT, 0, file, string(value))
}

func (w *keptWriter) devices(s *keptList) {
	paths := w.l.cgroup.paths()
	if dir := paths["devices"]; dir != "" {
		list, err := os.ReadFile(filepath.Join(dir, "devices.list"))
		if err != nil || strings.HasPrefix(string(list), "a") {
			w.fail("all devices")
		}
		s.add(C.KEPT_WRITE, 0, filepath.Join(dir, "devices.deny"), "", "a")
		s.add(C.KEPT_WRITE, 0, filepath.Join(dir, "devices.allow"), "", strings.Split(strings.TrimSuffix(string(list), "\n"), "\n")...)
		s.add(C.KEPT_EXPECT, 0, filepath.Join(dir, "devices.list"), string(list))
		return
	}
	program, err := deviceProgram(w.l.cgroup.config.Devices)
	if err != nil {
		w.fail("%v", err)
	}
	list := w.bytes8(program)
	s.add(C.KEPT_DEVICES, 0, paths[""], deviceLicence).list = list
}
