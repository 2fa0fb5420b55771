package launcher

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
)

// Prime begins, in the background, what a start to come would wait for. It
// changes nothing, and may be called where no start follows.
//
// On cgroup v1 the move of a process to another cgroup takes a lock that every
// fork and exit shares, and whoever takes it first waits for an RCU grace period
// (cgroup_threadgroup_rwsem, a percpu_rw_semaphore; 7 ms and more). Who takes it
// while that lasts, or shortly after, does not wait again. So the caller is
// "moved" to where it is already, while profile and image are being read.
func Prime() {
	if cgroups.IsCgroup2UnifiedMode() {
		return // a process is born in its cgroup there (CLONE_INTO_CGROUP)
	}
	go func() {
		own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
		if err != nil {
			return
		}
		procs := filepath.Join("/sys/fs/cgroup/devices", own["devices"], "cgroup.procs")
		_ = os.WriteFile(procs, []byte("0"), 0) // an error will be met, and told, by the start
	}()
}
