package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/user"
	mobyuserns "github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
	"github.com/minirun/minirun/launcher/userns"
)

// AsUser reports whether this process is not the machine's root: an ordinary user, or root of a user namespace.
func AsUser() bool { return os.Geteuid() != 0 || mobyuserns.RunningInUserNS() }

// KillAbandoned kills the PID 1 of containers whose launchers were killed, as far as it
// can; the next [New] removes what is left of them. A user's process calls it before
// [userns.Enter]: in its own namespace it has no power over one of an earlier launch, but
// outside the user owns both (user_namespaces(7)).
func KillAbandoned(dirs Dirs) {
	parent := filepath.Join(dirs.Root, "containers")
	guard, err := flock.Open(parent, unix.LOCK_EX) // see New
	if err != nil {
		return
	}
	defer guard.Close()
	names, _ := someContainers(parent)
	for _, name := range names {
		lock, err := flock.Open(filepath.Join(parent, name), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue // its launcher lives
		}
		if state, err := readState(lock.Name()); err == nil && state.Owner == OwnerLauncher {
			_ = state.kill(func() error { return nil }) // with cgroup v2, the only one for users, it needs no thaw
		}
		lock.Close()
	}
}

// checkInside refuses what is not to be had in a user namespace, and returns its IDs.
func checkInside(c *config.Config) (*spec.IDs, error) {
	for _, limit := range c.Rlimits {
		var own unix.Rlimit
		if err := unix.Getrlimit(rlimitNumber[limit.Type], &own); err != nil {
			return nil, os.NewSyscallError("getrlimit", err)
		}
		if limit.Hard > own.Max {
			name := strings.ToLower(strings.TrimPrefix(limit.Type, "RLIMIT_"))
			return nil, hint.With(&Error{Op: "--ulimit " + name, Err: fmt.Errorf("%d is more than your own hard limit, %d", limit.Hard, own.Max)}, ulimitHelp)
		}
	}
	if score, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil && c.OOMScoreAdj != 0 {
		own := 0
		if _, err := fmt.Sscan(string(score), &own); err == nil && c.OOMScoreAdj < own {
			return nil, &Error{Op: fmt.Sprintf("--oom-score-adj %d", c.OOMScoreAdj), Err: fmt.Errorf("without root it can only be raised, from %d on", own)}
		}
	}
	uids, gids, err := userns.Mapped()
	return &spec.IDs{UIDs: uids, GIDs: gids}, err
}

// checkMapped refuses a user and groups that do not exist in this user namespace: the
// kernel would say only that they are invalid. Where there is one group the kernel sets
// none, so that the image's own for the user are left out (user_namespaces(7), setgroups).
func checkMapped(ids *spec.IDs, c *config.Config, u *user.ExecUser) error {
	if ids == nil {
		return nil
	}
	refuse := func(op, kind string, count int64) error {
		cause := CauseUserIDs
		if c.OwnIDs > 0 {
			cause = CauseOwnIDs
		}
		return &Error{Op: op, Err: fewIDs(kind, count), Cause: cause}
	}
	if int64(u.Uid) >= ids.UIDs {
		return refuse(fmt.Sprintf("user %q", c.User), "user", ids.UIDs)
	}
	if int64(u.Gid) >= ids.GIDs {
		return refuse(fmt.Sprintf("user %q: group %d", c.User, u.Gid), "group", ids.GIDs)
	}
	if ids.GIDs == 1 && len(c.Groups) > 0 {
		return refuse("--group-add "+c.Groups[0], "group", 1)
	}
	for _, gid := range u.Sgids {
		if int64(gid) >= ids.GIDs && ids.GIDs > 1 {
			return refuse(fmt.Sprintf("group %d", gid), "group", ids.GIDs)
		}
	}
	return nil
}

func fewIDs(kind string, count int64) error {
	if count == 1 {
		return errors.New("there is one " + kind + " here, 0")
	}
	return fmt.Errorf("there are %d %ss here, from 0 on", count, kind)
}
