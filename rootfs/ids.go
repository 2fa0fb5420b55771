package rootfs

import (
	"archive/tar"
	"fmt"
	"strings"

	"github.com/moby/sys/user"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// ids are the users and groups that layers can belong to.
type ids struct {
	inside     bool  // this process is in a user namespace, where not all IDs exist
	uids, gids int64 // how many there are, from 0 on
}

func readIDs() (ids, error) {
	found := ids{inside: userns.RunningInUserNS()}
	if !found.inside {
		return found, nil
	}
	for file, count := range map[string]*int64{"/proc/self/uid_map": &found.uids, "/proc/self/gid_map": &found.gids} {
		lines, err := user.ParseIDMapFile(file)
		if err != nil {
			return found, err
		}
		for _, line := range lines {
			*count += line.Count
		}
	}
	return found, nil
}

// fit makes sure that the owner of an entry exists. If there is only one user, the entry
// becomes that user's. Otherwise an owner that does not exist is an error.
func (i ids) fit(h *tar.Header) error {
	switch {
	case !i.inside:
	case i.uids == 1:
		h.Uid, h.Gid = 0, 0
	case int64(h.Uid) >= i.uids:
		return hint.With(fmt.Errorf("%s belongs to user %d, and you have %d user ids", quote(h.Name), h.Uid, i.uids),
			"sudo usermod --add-subuids FIRST-LAST $USER, and --add-subgids")
	case int64(h.Gid) >= i.gids:
		return hint.With(fmt.Errorf("%s belongs to group %d, and you have %d group ids", quote(h.Name), h.Gid, i.gids),
			"sudo usermod --add-subgids FIRST-LAST $USER, and --add-subuids")
	}
	return nil
}

// leavesOut reports whether an entry cannot be made: it is a device node in a user
// namespace, where nobody could open it either (user_namespaces(7)). The node of a whiteout
// can be made (Linux 5.8).
func (i ids) leavesOut(h *tar.Header) bool {
	return i.inside && (h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar && nodeNumber(h) != 0)
}

// takes reports whether an extended attribute can be set. In a user namespace the
// attributes trusted.* and security.* cannot, except capabilities (capabilities(7)).
func (i ids) takes(attribute string) bool {
	return !i.inside || attribute == "security.capability" ||
		!strings.HasPrefix(attribute, "trusted.") && !strings.HasPrefix(attribute, "security.")
}

// overlayPrefix returns the prefix of overlayfs's own attributes (Linux,
// Documentation/filesystems/overlayfs.rst, "User xattr"). The library asks /proc only once:
// readIDs makes it do so before any chroot.
func overlayPrefix() string {
	if userns.RunningInUserNS() {
		return "user.overlay."
	}
	return overlayPrivate
}

// checkFileSystem returns an error if the store is where a user cannot unpack layers: on an
// overlay, which takes no whiteouts, or on NFS, whose server knows nothing of user
// namespaces.
func checkFileSystem(dir string) error {
	var st unix.Statfs_t
	if !userns.RunningInUserNS() || unix.Statfs(dir, &st) != nil {
		return nil
	}
	kind := ""
	switch st.Type {
	case unix.OVERLAYFS_SUPER_MAGIC:
		kind = "an overlay"
	case unix.NFS_SUPER_MAGIC:
		kind = "nfs"
	default:
		return nil
	}
	return &Error{Op: "open the image store", Err: fmt.Errorf("%s is on %s, which takes no layers", dir, kind), Cause: CauseNoLayers}
}
