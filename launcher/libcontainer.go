package launcher

import (
	"errors"
	"os"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newContainer makes libcontainer's container, a directory with its state, no process
// yet; and the cgroup, unless systemd is to make that.
func (c *Container) newContainer(spec *specs.Spec) (*libcontainer.Container, *ownCgroup, error) {
	// specconv asks for the working directory, which may have been deleted. All paths
	// are absolute by now, and CLONE_NEWNS gave the thread a directory of its own.
	if err := unix.Chdir("/"); err != nil {
		return nil, nil, os.NewSyscallError("chdir", err)
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       c.state.Name,
		UseSystemdCgroup: c.state.Systemd,
		Spec:             spec,
	})
	if err != nil {
		return nil, nil, &Error{Op: "configure container", Err: err}
	}
	if c.state.Systemd {
		container, err := libcontainer.Create(c.state.RunRoot, c.state.Name, config)
		if err != nil {
			return nil, nil, &Error{Op: "create container", Err: err, Cause: CauseSystemd}
		}
		return container, nil, nil
	}
	cgroup, err := takeCgroup(config)
	if err != nil {
		return nil, nil, &Error{Op: "create container", Err: err}
	}
	made := make(chan error, 1)
	go func() { made <- cgroup.make() }()
	container, err := loadContainer(c.state.RunRoot, c.state.Name, config)
	if cerr := <-made; cerr != nil {
		if container != nil {
			err = container.Destroy()
		}
		return nil, nil, &Error{Op: "make the cgroup " + c.cgroupsPath(), Err: errors.Join(cerr, err), Cause: CauseCgroup}
	}
	if err != nil {
		return nil, nil, &Error{Op: "create container", Err: errors.Join(err, cgroup.remove()), Cause: CauseRunRoot}
	}
	return container, cgroup, nil
}

func newLibcontainerProcess(spec *specs.Spec, args []string, files []*os.File) *libcontainer.Process {
	p := spec.Process
	groups := make([]int, len(p.User.AdditionalGids))
	for i, gid := range p.User.AdditionalGids {
		groups[i] = int(gid)
	}
	process := &libcontainer.Process{
		Init:             true,
		Args:             args,
		Env:              p.Env,
		Cwd:              p.Cwd,
		UID:              int(p.User.UID),
		GID:              int(p.User.GID),
		AdditionalGroups: groups,
		NoNewPrivileges:  &p.NoNewPrivileges,
		AppArmorProfile:  p.ApparmorProfile,
		ExtraFiles:       files,
		LogLevel:         strconv.Itoa(logLevelWarn),
	}
	for _, limit := range p.Rlimits {
		process.Rlimits = append(process.Rlimits, configs.Rlimit{
			Type: rlimitNumber[limit.Type], Soft: limit.Soft, Hard: limit.Hard,
		})
	}
	return process
}

// logLevelWarn is logrus.WarnLevel: what libcontainer's init passes on; arm.Init
// drops the rest.
const logLevelWarn = 3
