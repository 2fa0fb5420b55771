package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	mobyuserns "github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// ErrNoCgroup says that a container has no cgroup of its own: it is a user's, without limits.
var ErrNoCgroup = errors.New("the container has no cgroup")

// manager manages the cgroup of a launcher's container.
func (c *Container) manager() (cgroups.Manager, error) {
	if (mobyuserns.RunningInUserNS() || os.Geteuid() != 0) && c.state.CgroupParent == "" {
		return nil, ErrNoCgroup
	}
	return manager.New(c.cgroup())
}

// Freeze pauses the processes of a launcher's container, or has them go on. The error is
// [ErrNoCgroup] where nothing can pause them.
func (c *Container) Freeze(frozen bool) error {
	cm, err := c.manager()
	if err == nil {
		state := cgroups.Thawed
		if frozen {
			state = cgroups.Frozen
		}
		err = cm.Freeze(state)
	}
	if err != nil {
		return fmt.Errorf("freeze container %s: %w", c.state.Name, err)
	}
	return nil
}

// Frozen reports whether the container's processes are paused.
func (c *Container) Frozen() bool {
	cm, err := c.manager()
	if err != nil {
		return false
	}
	state, err := cm.GetFreezerState()
	return err == nil && state == cgroups.Frozen
}

// thaw has a frozen container go on, so that its processes get the signals that they were
// sent: with cgroup v1 not even SIGKILL ends a frozen process.
func (c *Container) thaw() error {
	if !c.Frozen() {
		return nil
	}
	return c.Freeze(false)
}

// PIDs returns the processes of a launcher's container, as the host numbers them: those in
// its cgroup or, where it has none, in its PID namespace.
func (c *Container) PIDs() ([]int, error) {
	cm, err := c.manager()
	if err == nil {
		pids, err := cm.GetAllPids()
		return pids, c.failed("list the processes of", err)
	}
	if !errors.Is(err, ErrNoCgroup) {
		return nil, c.failed("list the processes of", err)
	}
	own, err := os.Readlink("/proc/" + strconv.Itoa(c.state.PID) + "/ns/pid")
	if err != nil {
		return nil, c.failed("list the processes of", err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	var pids []int
	for _, link := range links {
		if other, err := os.Readlink(link); err == nil && other == own {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
			pids = append(pids, pid)
		}
	}
	return pids, err
}

func (c *Container) failed(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s container %s: %w", what, c.state.Name, err)
	}
	return nil
}

// Usage is what a container uses.
type Usage struct {
	CPU                 uint64 // nanoseconds so far
	Memory, MemoryLimit uint64 // bytes, without the page cache that can be dropped; no limit is the greatest number
	Read, Written       uint64 // bytes so far
	Received, Sent      uint64 // bytes so far
	Processes           uint64 // with threads
}

// Usage measures what a launcher's container uses. Fields that the kernel does not say are 0.
func (c *Container) Usage() (u Usage, err error) {
	cm, err := c.manager()
	if err != nil {
		return u, c.failed("measure", err)
	}
	s, err := cm.GetStats()
	if err != nil {
		return u, c.failed("measure", err)
	}
	u.CPU, u.Processes = s.CpuStats.CpuUsage.TotalUsage, s.PidsStats.Current
	u.Memory, u.MemoryLimit = s.MemoryStats.Usage.Usage, s.MemoryStats.Usage.Limit
	inactive := s.MemoryStats.Stats["inactive_file"] // cgroup v2
	if total, v1 := s.MemoryStats.Stats["total_inactive_file"]; v1 {
		inactive = total
	}
	u.Memory -= min(inactive, u.Memory)
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		switch e.Op {
		case "Read", "read":
			u.Read += e.Value
		case "Write", "write":
			u.Written += e.Value
		}
	}
	u.Received, u.Sent = traffic(c.state.PID)
	return u, nil
}

// traffic returns how many bytes the devices of a process's network namespace, except for
// the loopback device, have received and sent (proc_pid_net(5), dev).
func traffic(pid int) (received, sent uint64) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/dev")
	if err != nil {
		return 0, 0
	}
	for line := range bytes.Lines(data) {
		name, rest, found := bytes.Cut(line, []byte(":"))
		fields := bytes.Fields(rest)
		if !found || len(fields) < 9 || string(bytes.TrimSpace(name)) == "lo" {
			continue
		}
		in, _ := strconv.ParseUint(string(fields[0]), 10, 64)
		out, _ := strconv.ParseUint(string(fields[8]), 10, 64)
		received, sent = received+in, sent+out
	}
	return received, sent
}
