// Package spec turns what the flags of a launch and an image's configuration say
// into an OCI runtime specification. It is pure: what depends on the host or on
// the container's files comes in as a value.
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

// Image is what an image says about how to run it: the part of the OCI image
// configuration (image-spec, config.md) that a launch needs.
type Image struct {
	Entrypoint, Cmd, Env         []string
	User, WorkingDir, StopSignal string
	Labels                       map[string]string
	Volumes                      []string // sorted paths
}

// Host is what a spec depends on of the machine that it is for.
type Host struct {
	Hostname     string   // the host's own
	Capabilities []string // the bounding set, as far as it can be given
	AppArmor     string   // the profile to confine with, or ""
	SwapLimit    bool     // the kernel counts swap
	RecursiveRO  bool     // mount_setattr(2) makes mounts read-only recursively (Linux 5.12)
	Devices      []Device // the nodes of --device, or with --privileged of /dev
}

// Device is a device node, and what the container may do with it.
type Device struct {
	specs.LinuxDevice
	Access string
}

// Container is what a spec needs to know of the container that it is for.
type Container struct {
	ID          string // its name and, without another, its host name
	Root        string // the root file system, an absolute path
	CgroupsPath string
	User        specs.User
	Home        string // of User; HOME where nothing else sets it
}

// Merge fills in what the image says and the flags do not. The result has a
// command, or Merge returns an error: ErrNoCommand.
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
	if c.StopSignal == "" && image.StopSignal != "" {
		if _, err := config.ParseSignal(image.StopSignal); err != nil {
			return nil, fmt.Errorf("the image's stop signal %w", err)
		}
		c.StopSignal = image.StopSignal
	}
	return &c, nil
}

// labels are the image's, with the user's on top. They become annotations, and
// libcontainer takes those that begin with org.systemd.property. for properties of
// the container's systemd unit: those an image does not set.
func labels(image Image, own map[string]string) map[string]string {
	all := maps.Clone(image.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.DeleteFunc(all, func(key, _ string) bool { return strings.HasPrefix(key, "org.systemd.property.") })
	maps.Copy(all, own)
	return all
}

// volumes are the image's, except for those that a mount of the flags takes the
// place of.
func volumes(c *config.Config, image Image) ([]string, error) {
	var all []string
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

// StopSignalKey is the annotation that carries the stop signal
// (image-spec, conversion.md).
const StopSignalKey = "org.opencontainers.image.stopSignal"

// ErrNoCommand says that neither the flags nor the image name a command.
var ErrNoCommand = errors.New("no command given, and the image names none")

// New describes the container: what `docker run` hands to its runtime for the
// same flags, without the seccomp filter, which minirun installs itself. c comes
// from [Merge].
func New(c *config.Config, host Host, at Container) *specs.Spec {
	hostname := c.Hostname
	if hostname == "" && c.Network == config.NetworkHost {
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

// capabilities are Docker's: the whole bounding set for root, none for another
// user, who gets from it what a set-uid or file capability grants; inheritable
// and ambient always empty.
func capabilities(bounding []string, uid uint32) *specs.LinuxCapabilities {
	caps := &specs.LinuxCapabilities{Bounding: bounding}
	if uid == 0 {
		caps.Effective, caps.Permitted = bounding, bounding
	}
	return caps
}

// defaultPath is the PATH of a container whose image sets none, as Docker's.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the container's: Docker's PATH, HOSTNAME, TERM and HOME, then
// the image's and the user's on top. As with Docker, an entry without = is left
// out, and takes an earlier one of its name with it.
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
	env = slices.DeleteFunc(env, func(e string) bool { return e == "HOME=" }) // as libcontainer: it is none
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		env = append(env, "HOME="+home)
	}
	return env
}
