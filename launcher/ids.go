package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	mobyuserns "github.com/moby/sys/userns"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/network"
	"github.com/minirun/minirun/launcher/spec"
	"github.com/minirun/minirun/launcher/userns"
)

// idsLink is a symbolic link in the directory of a container that has users of its own. It
// leads nowhere: its text is the range, and it goes with the directory.
const idsLink = "ids"

// ownRoot is where the root of such a container is mounted, in mount namespaces of
// launchers only: its init is nobody on the host, and may not enter other directories of
// minirun's.
const ownRoot = "/run/minirun-root"

// TakeIDs gives a new container as many users and groups of its own as the flags say: those
// of a user namespace, of which no other container of the same root directory has one. With
// none it does nothing, and returns nil. The namespace belongs to the container.
func (c *Container) TakeIDs(flags *config.Config) (*userns.Namespace, error) {
	if flags.OwnIDs == 0 {
		return nil, nil
	}
	const op = "--userns auto"
	ids, err := c.claimIDs(flags.OwnIDs)
	if err != nil {
		return nil, hint.With(&Error{Op: op, Err: err}, hint.Text(err))
	}
	if err := makeOwnRoot(); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	if c.ids, err = userns.Make(ids, network.New(flags).NeedsNamespace()); err != nil {
		return nil, hint.With(&Error{Op: op, Err: err}, hint.Text(err))
	}
	return c.ids, nil
}

// rootDir is where the root of any other container is mounted.
const rootDir = ".root" // no container's name starts with a dot

// RootDir returns the directory at which to mount the container's root. It exists, and is the
// same for many containers: each is mounted in a mount namespace of its own.
func (c *Container) RootDir() (string, error) {
	if c.ids != nil {
		return ownRoot, nil
	}
	dir := filepath.Join(c.state.RunRoot, rootDir)
	return dir, os.MkdirAll(dir, 0o700)
}

func makeOwnRoot() error {
	if err := os.Mkdir(ownRoot, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(ownRoot, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: ownRoot, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 {
		return fmt.Errorf("%s is not a directory of root's", ownRoot)
	}
	return nil
}

// claimIDs takes a range that no other container has. If none is left, containers of
// launchers that were killed may have one.
func (c *Container) claimIDs(count int64) (userns.Range, error) {
	parent := filepath.Dir(c.dir)
	guard, err := flock.Open(parent, unix.LOCK_EX)
	if err != nil {
		return userns.Range{}, err
	}
	defer guard.Close()
	taken, owners, err := takenIDs(parent)
	if err != nil {
		return userns.Range{}, err
	}
	if c.before != nil {
		if ids, err := c.earlierIDs(count, taken); ids.Count != 0 || err != nil {
			return ids, err
		}
	}
	ids, err := userns.Choose(count, taken)
	if errors.Is(err, userns.ErrNoneLeft) {
		for _, dead := range sweep(parent, owners, c.state.RunRoot, c.warn) {
			if err := dead.removeDir(); err != nil {
				c.warn(err)
			}
		}
		if taken, _, err = takenIDs(parent); err == nil {
			ids, err = userns.Choose(count, taken)
		}
	}
	if errors.Is(err, userns.ErrNoneLeft) {
		return ids, hint.New(fmt.Sprintf("no %d user ids are left: %d containers have them", count, len(taken)),
			"end a container, or give "+userns.Owner+" more in /etc/subuid and /etc/subgid")
	}
	if err != nil {
		return ids, err
	}
	return ids, c.noteIDs(ids)
}

func (c *Container) noteIDs(ids userns.Range) error {
	return os.Symlink(fmt.Sprintf("%d:%d", ids.First, ids.Count), filepath.Join(c.dir, idsLink))
}

// earlierIDs takes the range that a container had when it ran before: its files belong to
// them. Without files it has had none.
func (c *Container) earlierIDs(count int64, taken []userns.Range) (userns.Range, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(c.dir, "upper"), &st); err != nil || st.Uid == 0 {
		return userns.Range{}, nil
	}
	ids := userns.Range{First: int64(st.Uid), Count: count}
	for _, other := range taken {
		if ids.First < other.First+other.Count && other.First < ids.First+ids.Count {
			return userns.Range{}, hint.New("another container has got its users meanwhile", "stop the other containers with --userns auto first")
		}
	}
	return ids, c.noteIDs(ids)
}

// takenIDs returns the ranges that containers have, and the names of these.
func takenIDs(parent string) (taken []userns.Range, owners []string, err error) {
	dir, err := os.Open(parent)
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		text, err := os.Readlink(filepath.Join(parent, name, idsLink))
		if err != nil || strings.HasPrefix(name, ".") { // it has none, or has ended
			continue
		}
		var r userns.Range
		if _, err := fmt.Sscanf(text, "%d:%d", &r.First, &r.Count); err == nil {
			taken, owners = append(taken, r), append(owners, name)
		}
	}
	return taken, owners, err
}

// giveIDsBack gives back the IDs of a container that has ended.
func (c *Container) giveIDsBack() {
	_ = os.Remove(filepath.Join(c.LauncherDir(), idsLink)) // it may have none
}

// checkOwnIDs refuses --userns auto where it cannot be had, and returns the container's IDs.
func checkOwnIDs(c *config.Config) (*spec.IDs, error) {
	if mobyuserns.RunningInUserNS() {
		err := &Error{Op: "--userns auto", Err: errors.New("a container of a user's has the user's subordinate ids, not others")}
		if !userns.Rootless() {
			err.Err = errors.New("minirun itself is in a user namespace, in which no layers can be mapped")
		}
		return nil, hint.With(err, "leave it out, or run it as root of the host")
	}
	return &spec.IDs{UIDs: c.OwnIDs, GIDs: c.OwnIDs}, nil
}

// joinNamespace has the container join a namespace instead of making one.
func joinNamespace(s *specs.Spec, kind specs.LinuxNamespaceType, ns *os.File) {
	for i, n := range s.Linux.Namespaces {
		if n.Type == kind {
			s.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd())
		}
	}
}

// withoutUsers returns a spec without its user namespace.
func withoutUsers(s specs.Spec) specs.Spec {
	linux := *s.Linux
	linux.Namespaces = nil
	for _, n := range s.Linux.Namespaces {
		if n.Type != specs.UserNamespace {
			linux.Namespaces = append(linux.Namespaces, n)
		}
	}
	s.Linux = &linux
	return s
}

// joinUsers has libcontainer's configuration join a user namespace. specconv would start
// two processes to read the mappings of one that exists.
func joinUsers(config *configs.Config, ns *userns.Namespace) {
	config.Namespaces.Add(configs.NEWUSER, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.User.Fd()))
	ids := []configs.IDMap{{ContainerID: 0, HostID: ns.IDs.First, Size: ns.IDs.Count}}
	config.UIDMappings, config.GIDMappings = ids, ids
}

// giveMade gives the parts of a path in a root that this process has made, and so are the
// host's root's, to the container's: nothing in its layers is.
func giveMade(root, path string, ids *userns.Namespace) error {
	if ids == nil {
		return nil
	}
	parts := strings.Split(filepath.Clean(path), "/")
	for i := range parts {
		f, err := pathrs.OpenInRoot(root, "/"+filepath.Join(parts[:i+1]...))
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Fstat(int(f.Fd()), &st)
		if err == nil && st.Uid == 0 {
			err = unix.Fchownat(int(f.Fd()), "", int(ids.IDs.First), int(ids.IDs.First), unix.AT_EMPTY_PATH)
		}
		f.Close()
		if err != nil {
			return &os.PathError{Op: "give to the container's root", Path: path, Err: err}
		}
	}
	return nil
}

// giveStreams gives the pipes that a container gets to its user, which can open them again
// then, as /dev/stdout. Its init cannot: they are nobody's there.
func (c *Container) giveStreams(l *launched) error {
	if c.ids == nil {
		return nil
	}
	return l.streams.give(int(c.ids.IDs.First) + int(l.o.Spec.Process.User.UID))
}

// give gives the pipes to a user of the host's.
func (s *streams) give(uid int) error {
	for _, f := range s.inherited {
		if err := f.Chown(uid, -1); err != nil {
			return err
		}
	}
	return nil
}

// limitProcess sets what a planned init with IDs of its own cannot: it has no power over
// the host, which a hard limit that is raised and a lower score need.
func (c *Container) limitProcess() error {
	l := c.launched
	if c.ids == nil || l.plan == nil {
		return nil
	}
	p := l.o.Spec.Process
	for _, limit := range p.Rlimits {
		if err := unix.Prlimit(l.init.pid, rlimitNumber[limit.Type], &unix.Rlimit{Cur: limit.Soft, Max: limit.Hard}, nil); err != nil {
			return hint.With(&Error{Op: "--ulimit " + rlimitName(strconv.Itoa(rlimitNumber[limit.Type])), Err: err}, ulimitHelp)
		}
	}
	if p.OOMScoreAdj == nil {
		return nil
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", l.init.pid), []byte(strconv.Itoa(*p.OOMScoreAdj)), 0)
}
