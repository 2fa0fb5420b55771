package launcher

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
)

// Prime begins, in the background, what a start to come would wait for. It
// changes nothing, and may be called where no start follows.
//
// The move of a process to another cgroup takes a lock that every fork and exit
// shares, and whoever takes it first waits for an RCU grace period
// (cgroup_threadgroup_rwsem, a percpu_rw_semaphore; 7 ms and more). Who takes it
// while that lasts, or shortly after, does not wait again. So the caller is
// "moved" to where it is already, while profile and image are being read.
func Prime() {
	go func() {
		own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
		if err != nil {
			return
		}
		dir := filepath.Join("/sys/fs/cgroup/devices", own["devices"])
		if cgroups.IsCgroup2UnifiedMode() {
			dir = filepath.Join("/sys/fs/cgroup", own[""])
		}
		_ = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0) // what is wrong will be met, and told, by the start
	}()
}
