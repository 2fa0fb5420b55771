// Package spec turns the flags of a launch and an image's configuration into an OCI
// runtime specification. It is pure: everything that depends on the host or on the
// container's files is an argument.
package spec

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
)

// Image is the part of an OCI image configuration (image-spec, config.md) that says
// how to run the image.
type Image struct {
	Entrypoint, Cmd, Env         []string
	User, WorkingDir, StopSignal string
	Labels                       map[string]string
	Volumes                      []string // sorted paths
	ExposedPorts                 []string // PORT[-END][/PROTOCOL], sorted
}

// Host has the properties of the machine that a spec depends on.
type Host struct {
	Hostname     string   // the host's own
	Capabilities []string // the bounding set, without what cannot be given
	AppArmor     string   // the profile to confine with, or ""
	SwapLimit    bool     // the kernel counts swap
	RecursiveRO  bool     // mount_setattr(2) makes mounts read-only recursively (Linux 5.12)
	Devices      []Device // the nodes of --device, or with --privileged of /dev
	IDs          *IDs     // of the user namespace that the container is in; nil on the host
}

// Device is a device node and the access of the container to it.
type Device struct {
	specs.LinuxDevice
	Host   string // its path there
	Access string
}

// IDs are how many users and groups exist in a user namespace, from 0 on.
type IDs struct{ UIDs, GIDs int64 }

// Container has the properties of the container that a spec depends on.
type Container struct {
	ID          string // its name and, unless another is set, its host name
	Root        string // the root file system, an absolute path
	CgroupsPath string
	User        specs.User
	Home        string // of User: HOME unless something else sets it
}

// Merge fills in from the image what the flags leave out. It returns [ErrNoCommand]
// if neither has a command.
func Merge(c config.Config, image Image) (*config.Config, error) {
	switch {
	case c.Entrypoint != nil:
		c.Args = slices.Concat(*c.Entrypoint, c.Args)
	case len(c.Args) == 0:
		c.Args = slices.Concat(image.Entrypoint, image.Cmd)
	default:
		c.Args = slices.Concat(image.Entrypoint, c.Args)
	}
	if len(c.Args) == 0 {
		return nil, ErrNoCommand
	}
	c.Env = slices.Concat(image.Env, c.Env)
	c.Labels = labels(image, c.Labels)
	c.User = cmp.Or(c.User, image.User)
	c.Workdir = cmp.Or(c.Workdir, image.WorkingDir, "/")
	if !path.IsAbs(c.Workdir) {
		return nil, fmt.Errorf("the image's working directory %q is not an absolute path", c.Workdir)
	}
	var err error
	if c.Volumes, err = volumes(&c, image); err != nil {
		return nil, err
	}
	if c.Exposed, err = exposed(&c, image); err != nil {
		return nil, err
	}
	if c.StopSignal == "" && image.StopSignal != "" {
		if _, err := config.ParseSignal(image.StopSignal); err != nil {
			return nil, fmt.Errorf("the image's stop signal %w", err)
		}
		c.StopSignal = image.StopSignal
	}
	return &c, nil
}

// labels returns the image's labels, overridden by the user's. They become
// annotations, and libcontainer sets properties of the container's systemd unit from
// those that start with org.systemd.property.; an image must not do that.
func labels(image Image, own map[string]string) map[string]string {
	all := maps.Clone(image.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.DeleteFunc(all, func(key, _ string) bool { return strings.HasPrefix(key, "org.systemd.property.") })
	maps.Copy(all, own)
	return all
}

// volumes returns the flags' volumes and the image's, except for those that a mount
// of the flags replaces.
func volumes(c *config.Config, image Image) ([]string, error) {
	all := slices.Clone(c.Volumes)
	for _, volume := range image.Volumes {
		target := path.Clean(volume)
		switch {
		case !path.IsAbs(target):
			return nil, fmt.Errorf("the image's volume %q is not an absolute path", volume)
		case target == "/":
			return nil, errors.New("the image's volume is /, which is the root itself")
		case !slices.ContainsFunc(c.Mounts, func(m config.Mount) bool { return m.Target == target }):
			all = append(all, target)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// exposed returns the flags' ports and the image's. They matter to --publish-all only.
func exposed(c *config.Config, image Image) ([]config.Port, error) {
	if !c.PublishAll {
		return nil, nil
	}
	all := slices.Clone(c.Exposed)
	for _, text := range image.ExposedPorts {
		ports, err := config.ParsePorts(text)
		if err != nil {
			return nil, fmt.Errorf("the image's port %q: %w", text, err)
		}
		if all = append(all, ports...); len(all) > maxExposed {
			return nil, fmt.Errorf("the image exposes more than %d ports", maxExposed)
		}
	}
	return all, nil
}

// maxExposed is how many ports can be exposed, all of tcp and udp. An image may name
// ranges of ports any number of times.
const maxExposed = 2 << 16

// StopSignalKey is the annotation that carries the stop signal
// (image-spec, conversion.md).
const StopSignalKey = "org.opencontainers.image.stopSignal"

// ErrNoCommand is the error if neither the flags nor the image name a command.
var ErrNoCommand = errors.New("no command given, and the image names none")

// New returns the specification that `docker run` gives to its runtime for the same
// flags, without the seccomp filter, which minirun installs itself. c comes from
// [Merge].
func New(c *config.Config, host Host, at Container) *specs.Spec {
	hostname := c.Hostname
	if hostname == "" && !c.Network.Own() {
		hostname = host.Hostname
	}
	hostname = cmp.Or(hostname, at.ID)
	s := &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: at.Root, Readonly: c.ReadOnly},
		Hostname:    hostname,
		Domainname:  c.Domainname,
		Process:     process(c, host, at, hostname),
		Mounts:      mounts(c, host),
		Linux:       linux(c, host, at),
		Annotations: annotations(c),
	}
	if c.HostUTS {
		s.Hostname = "" // it cannot be set where it is the host's
	}
	maps.Copy(s.Annotations, c.Annotations)
	return s
}

func annotations(c *config.Config) map[string]string {
	all := maps.Clone(c.Labels)
	if all == nil {
		all = map[string]string{}
	}
	if c.StopSignal != "" {
		all[StopSignalKey] = c.StopSignal
	}
	return all
}

func process(c *config.Config, host Host, at Container, hostname string) *specs.Process {
	p := &specs.Process{
		Terminal:        c.Terminal,
		Args:            c.Args,
		Env:             environment(c, hostname, at.Home),
		Cwd:             path.Clean(c.Workdir),
		User:            at.User,
		Capabilities:    capabilities(host.Capabilities, at.User.UID),
		Rlimits:         c.Rlimits,
		NoNewPrivileges: c.NoNewPrivileges,
		ApparmorProfile: host.AppArmor,
	}
	if c.OOMScoreAdj != 0 {
		p.OOMScoreAdj = &c.OOMScoreAdj
	}
	return p
}

// capabilities returns what Docker gives: root has the whole bounding set, and
// another user has none of it until a set-user-ID bit or a file capability grants it.
// Inheritable and ambient are always empty.
func capabilities(bounding []string, uid uint32) *specs.LinuxCapabilities {
	caps := &specs.LinuxCapabilities{Bounding: bounding}
	if uid == 0 {
		caps.Effective, caps.Permitted = bounding, bounding
	}
	return caps
}

// defaultPath is Docker's PATH for a container whose image sets none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment returns the container's environment: Docker's PATH, HOSTNAME, TERM and
// HOME, overridden by the image's and then the user's variables. As with Docker, an
// entry without = removes an earlier one of its name.
func environment(c *config.Config, hostname, home string) []string {
	env := []string{defaultPath, "HOSTNAME=" + hostname}
	if c.Terminal {
		env = append(env, "TERM=xterm")
	}
	for _, pair := range c.Env {
		name, _, hasValue := strings.Cut(pair, "=")
		if !hasValue {
			env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
			continue
		}
		if i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") }); i >= 0 {
			env[i] = pair
		} else {
			env = append(env, pair)
		}
	}
	env = slices.DeleteFunc(env, func(e string) bool { return e == "HOME=" }) // to libcontainer an empty HOME is none
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		env = append(env, "HOME="+home)
	}
	return env
}
