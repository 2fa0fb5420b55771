package launcher

import (
	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// ownerAttribute is the extended attribute of a cgroup that says which engine's container it
// was made for: the short ID. The cgroup's name, which the engine has chosen, does not: another
// container may have the same. Systemd's cgroups have no such attribute.
const ownerAttribute = "minirun.container"

// noteOwner notes it on the first of the directories, before a process is in the cgroup.
func (c *ownCgroup) noteOwner(id string) {
	for _, dir := range c.dirs() {
		if dir == "" {
			continue
		}
		if unix.Setxattr(dir, "trusted."+ownerAttribute, []byte(id), 0) != nil {
			_ = unix.Setxattr(dir, "user."+ownerAttribute, []byte(id), 0) // Linux 5.7
		}
		return
	}
}

// ownerOf returns what noteOwner has noted on a cgroup, or "".
func ownerOf(cm cgroups.Manager) string {
	value := make([]byte, 64)
	for _, dir := range cm.GetPaths() {
		for _, space := range []string{"trusted.", "user."} {
			if n, err := unix.Getxattr(dir, space+ownerAttribute, value); err == nil {
				return string(value[:n])
			}
		}
	}
	return ""
}

// isAnothers reports whether a cgroup was made for another container.
func (s *State) isAnothers(cm cgroups.Manager) bool {
	owner := ownerOf(cm)
	return owner != "" && s.ID != "" && owner != s.shortID()
}
