package launcher

import (
	"errors"
	"os"
	"strconv"

	mobyuserns "github.com/moby/sys/userns"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newContainer makes the cgroup, unless systemd is to make that, and the files of the
// plan or libcontainer's container: a directory with its state, no process yet.
func (c *Container) newContainer(l *launched, config *configs.Config) (err error) {
	if c.state.Systemd {
		l.container, err = libcontainer.Create(c.state.RunRoot, c.state.key(), config)
		if err != nil {
			return &Error{Op: "create container", Err: err, Cause: CauseSystemd}
		}
		return nil
	}
	if l.o.Engine != nil { // a sweep must know before there is a cgroup
		c.state.Cgroups = l.cgroup.paths()
		if err := c.state.save(); err != nil {
			return err
		}
	}
	made := make(chan error, 1)
	go func() {
		if l.cgroup == nil {
			made <- nil
			return
		}
		err := l.cgroup.make()
		if err == nil && l.o.Engine != nil {
			l.cgroup.noteOwner(c.state.shortID())
			if hasEarlyHooks(config) {
				err = l.cgroup.limit()
			}
		}
		made <- err
	}()
	if l.plan != nil {
		err = l.writePlan(c.state.RunRoot)
	} else {
		l.container, err = loadContainer(c.state.RunRoot, c.state.key(), config)
	}
	if cerr := <-made; cerr != nil {
		name := c.cgroupsPath()
		if l.o.Engine != nil {
			name = l.o.Spec.Linux.CgroupsPath
		}
		return &Error{Op: "make the cgroup " + name, Err: errors.Join(cerr, err), Cause: CauseCgroup}
	}
	l.made = true
	if err != nil {
		return &Error{Op: "create container", Err: err, Cause: CauseRunRoot}
	}
	return nil
}

// configure translates the spec for libcontainer.
func (c *Container) configure(l *launched) (*configs.Config, error) {
	spec, e := *l.o.Spec, l.o.Engine
	opts := &specconv.CreateOpts{CgroupName: c.state.Name, Spec: &spec}
	if e != nil {
		c.state.Systemd, opts.NoPivotRoot, opts.NoNewKeyring = e.Systemd, e.NoPivot, e.NoKeyring
		if spec.Linux != nil { // the filter comes compiled
			linux := *spec.Linux
			linux.Seccomp = nil
			spec.Linux = &linux
		}
	} else if err := unix.Chdir("/"); err != nil {
		// specconv asks for the working directory, which may have been deleted. All paths
		// are absolute by now, and CLONE_NEWNS gave the thread a directory of its own.
		return nil, os.NewSyscallError("chdir", err)
	}
	opts.UseSystemdCgroup = c.state.Systemd
	opts.RootlessCgroups = c.state.Systemd && mobyuserns.RunningInUserNS() // the user's own systemd makes it
	if c.ids != nil {
		spec = withoutUsers(spec)
	}
	config, err := specconv.CreateLibcontainerConfig(opts)
	if err == nil && c.ids != nil {
		joinUsers(config, c.ids)
	}
	if err == nil && e != nil {
		l.kept = keepBack(config)
	}
	return config, err
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
