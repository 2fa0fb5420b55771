package launcher

import (
	"errors"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
)

// Spec describes the container for [Container.Create]. flags come from [spec.Merge],
// host from [Inspect], and root is the root file system, in which the user is
// looked up. Host directories of -v that do not exist are made here, as nothing
// is left to be refused.
func (c *Container) Spec(flags *config.Config, host spec.Host, root string) (*specs.Spec, error) {
	c.state.Systemd = flags.CgroupManager == config.CgroupManagerSystemd
	c.state.CgroupParent = flags.CgroupParent
	if c.state.Systemd || c.state.CgroupParent != "" { // a sweep must know before there is a cgroup
		if err := c.state.save(); err != nil {
			return nil, err
		}
	}
	u, err := execUser(root, flags.User, flags.Groups)
	if err != nil {
		return nil, err
	}
	if err := checkMapped(host.IDs, flags, u); err != nil {
		return nil, err
	}
	groups := make([]uint32, len(u.Sgids))
	for i, gid := range u.Sgids {
		groups[i] = uint32(gid)
	}
	if err := makeSources(flags.Mounts); err != nil {
		return nil, err
	}
	s := spec.New(flags, host, spec.Container{
		ID: c.state.shortID(), Root: root, CgroupsPath: c.cgroupsPath(),
		User: specs.User{UID: uint32(u.Uid), GID: uint32(u.Gid), AdditionalGids: groups}, Home: u.Home,
	})
	return s, injectCDI(s, flags.CDIDevices)
}

// makeSources makes the host directories of -v that do not exist, as Docker does.
func makeSources(mounts []config.Mount) error {
	for _, m := range mounts {
		if !m.Create {
			continue
		}
		if _, err := os.Stat(m.Source); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := os.MkdirAll(m.Source, 0o755); err != nil {
			return &Error{Op: m.Flag, Err: err}
		}
	}
	return nil
}
