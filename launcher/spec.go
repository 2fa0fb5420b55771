package launcher

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runc/libcontainer/apparmor"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// maskedPaths and readonlyPaths hide or freeze what /proc and /sys tell of the
// host and let be changed of it (moby/oci/defaults.go).
var (
	maskedPaths = [...]string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = [...]string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// newSpec describes the container: what `docker run` would hand to its runtime
// for the same options, but for the seccomp filter, which minirun arms itself.
func (c *Container) newSpec(o *Options) (*specs.Spec, error) {
	u, err := execUser(o.Root, o.User, o.GroupAdd)
	if err != nil {
		return nil, err
	}
	hostname := o.Hostname
	if hostname == "" && o.Network == "host" {
		hostname, _ = os.Hostname()
	}
	if hostname == "" {
		hostname = c.id
	}
	process, err := newProcess(o, u, hostname)
	if err != nil {
		return nil, err
	}
	mounts, err := newMounts(o)
	if err != nil {
		return nil, err
	}
	linux, err := c.newLinux(o)
	if err != nil {
		return nil, err
	}
	annotations := map[string]string{}
	for _, label := range o.Labels {
		key, value, _ := strings.Cut(label, "=")
		annotations[key] = value
	}
	return &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: o.Root, Readonly: o.ReadOnly},
		Hostname:    hostname,
		Process:     process,
		Mounts:      mounts,
		Linux:       linux,
		Annotations: annotations,
	}, nil
}

func newProcess(o *Options, u *user.ExecUser, hostname string) (*specs.Process, error) {
	limits, err := rlimits(o.Ulimits)
	if err != nil {
		return nil, err
	}
	workdir := o.Workdir
	if workdir == "" {
		workdir = "/"
	}
	if !filepath.IsAbs(workdir) {
		return nil, &Error{Op: "--workdir " + workdir, Err: errNotAbsolute, Help: "write a path from /"}
	}
	groups := make([]uint32, len(u.Sgids))
	for i, gid := range u.Sgids {
		groups[i] = uint32(gid)
	}
	return &specs.Process{
		Terminal:        o.Terminal,
		Args:            o.Args,
		Env:             environment(o, hostname, u.Home),
		Cwd:             filepath.Clean(workdir),
		User:            specs.User{UID: uint32(u.Uid), GID: uint32(u.Gid), AdditionalGids: groups},
		Capabilities:    processCapabilities(o.Capabilities, u.Uid),
		Rlimits:         limits,
		NoNewPrivileges: o.NoNewPrivileges,
		ApparmorProfile: apparmorProfile(o),
	}, nil
}

// processCapabilities are Docker's: the whole bounding set for root, none for
// another user, who gets from it what a set-uid or file capability grants;
// inheritable and ambient always empty.
func processCapabilities(bounding []string, uid int) *specs.LinuxCapabilities {
	caps := &specs.LinuxCapabilities{Bounding: bounding}
	if uid == 0 {
		caps.Effective, caps.Permitted = bounding, bounding
	}
	return caps
}

// dockerProfile is the name under which dockerd loads its AppArmor profile.
const dockerProfile = "docker-default"

// apparmorProfile is the one that was asked for, else Docker's where the kernel
// has it, else none.
func apparmorProfile(o *Options) string {
	switch {
	case o.AppArmor == "unconfined" || o.Privileged && o.AppArmor == "":
		return ""
	case o.AppArmor != "":
		return o.AppArmor
	case !apparmor.IsEnabled():
		return ""
	}
	loaded, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil || !bytes.Contains(append([]byte("\n"), loaded...), []byte("\n"+dockerProfile+" (")) {
		o.debugf("AppArmor: profile %s is not loaded: the container is unconfined", dockerProfile)
		return ""
	}
	return dockerProfile
}

func newMounts(o *Options) ([]specs.Mount, error) {
	mounts, err := defaultMounts(o)
	if err != nil {
		return nil, err
	}
	user, err := userMounts(o)
	if err != nil {
		return nil, err
	}
	// A user's mount replaces the default one at its place.
	taken := map[string]bool{}
	for _, m := range user {
		taken[m.Destination] = true
	}
	var all []specs.Mount
	for _, m := range mounts {
		if !taken[m.Destination] {
			all = append(all, m)
		}
	}
	return append(all, user...), nil
}

func (c *Container) newLinux(o *Options) (*specs.Linux, error) {
	limits, err := resources(o)
	if err != nil {
		return nil, err
	}
	linux := &specs.Linux{
		CgroupsPath: c.cgroupsPath(),
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.MountNamespace},
			{Type: specs.PIDNamespace},
			{Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace},
			{Type: specs.CgroupNamespace},
		},
		Resources: limits,
	}
	limits.Devices = []specs.LinuxDeviceCgroup{{Allow: o.Privileged, Access: "rwm"}}
	if o.Network != "host" {
		linux.Namespaces = append(linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
		linux.Sysctl = map[string]string{
			"net.ipv4.ip_unprivileged_port_start": "0",
			"net.ipv4.ping_group_range":           "0 2147483647",
		}
	}
	if o.Privileged {
		return linux, addHostDevices(linux)
	}
	linux.MaskedPaths = maskedPaths[:]
	linux.ReadonlyPaths = readonlyPaths[:]
	for _, text := range o.Devices {
		device, rule, err := parseDevice(text)
		if err != nil {
			return nil, err
		}
		linux.Devices = append(linux.Devices, device)
		limits.Devices = append(limits.Devices, rule)
	}
	return linux, nil
}
