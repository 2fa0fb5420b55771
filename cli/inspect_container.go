package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/profiles"
)

// describeContainer returns what is known about a container. Its launch is unknown before it
// has begun. Its files are measured with size.
func describeContainer(container *launcher.Container, size bool) (*containerDescription, error) {
	launch, err := container.Launch()
	if errors.Is(err, os.ErrNotExist) {
		launch, err = &launcher.Launch{}, nil
	}
	if err != nil {
		return nil, &containerError{err: err}
	}
	flags, err := config.Parse(launch.Flags)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", container.Name(), err)
	}
	v := containerView{container, container.Known(), launch, time.Now()}
	d := &containerDescription{
		ID: v.ID, Created: timeText(v.Created), State: v.describeState(), Image: v.Image, Name: "/" + v.Name,
		Driver: "overlay", Platform: "linux", LogPath: v.logPath(), Mounts: v.mountsOf(flags),
		Config: v.describeConfig(flags), HostConfig: v.hostConfig(flags), NetworkSettings: v.networkSettings(),
		Seccomp: v.describeSeccomp(), Capabilities: []string{},
	}
	if len(v.Command) > 0 {
		d.Path, d.Args = v.Command[0], v.Command[1:]
	}
	if p := launch.Process; p != nil {
		d.AppArmorProfile = p.ApparmorProfile
		if p.Capabilities != nil {
			d.Capabilities = p.Capabilities.Bounding
		}
	}
	if size {
		changed, all, err := v.sizes()
		if err != nil {
			return nil, &containerError{err: err}
		}
		d.SizeRw, d.SizeRootFs = &changed, &all
	}
	return d, nil
}

// timeText returns a time as dockerd writes it.
func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (v containerView) describeState() describedState {
	state := v.state()
	s := describedState{
		Status: state, Running: v.runs(), Paused: state == "paused", ExitCode: v.ExitCode,
		StartedAt: timeText(v.Started), FinishedAt: timeText(v.Finished),
	}
	if v.runs() || state == "created" {
		s.Pid = v.PID
	}
	if v.Lost {
		s.Error = "its minirun was killed"
	}
	return s
}

// logPath returns the container's log, or "" if it has none.
func (v containerView) logPath() string {
	log := filepath.Join(v.container.Dir(), logFile)
	if _, err := os.Stat(log); err != nil {
		return ""
	}
	return log
}

// attached reports whether the container was made to run in the foreground.
func (v containerView) attached() bool {
	if r := v.launch.Again; r != nil {
		return r.Attached
	}
	return !v.Detached
}

// describeConfig returns what the image and the flags say about the command. Env is its whole
// environment.
func (v containerView) describeConfig(flags *config.Config) describedConfig {
	c := describedConfig{
		Hostname: v.launch.Hostname, Domainname: flags.Domainname, User: v.launch.User, Image: v.Image, Labels: v.launch.Labels,
		AttachStdin: flags.Interactive && v.attached(), AttachStdout: !flags.DropStdout && v.attached(), AttachStderr: !flags.DropStderr && v.attached(),
		Tty: flags.Terminal, OpenStdin: flags.Interactive, StdinOnce: flags.Interactive && v.attached(),
		Entrypoint: v.launch.Entrypoint, StopSignal: flags.StopSignal, StopTimeout: flags.Signals.StopSeconds,
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	if p := v.launch.Process; p != nil {
		c.Env, c.WorkingDir = p.Env, p.Cwd
	}
	if n := len(v.launch.Entrypoint); n <= len(v.Command) {
		c.Cmd = v.Command[n:]
	}
	for _, path := range v.launch.Volumes {
		c.Volumes = addedTo(c.Volumes, path, struct{}{})
	}
	for _, port := range flags.Exposed {
		c.ExposedPorts = addedTo(c.ExposedPorts, port.String(), struct{}{})
	}
	for _, p := range flags.Published {
		c.ExposedPorts = addedTo(c.ExposedPorts, p.Port.String(), struct{}{})
	}
	return c
}

// describeSeccomp returns the profile, and the length of its program.
func (v containerView) describeSeccomp() describedSeccomp {
	p := v.launch.Seccomp
	s := describedSeccomp{Profile: p.Name, Edited: p.Edited, Digest: p.Digest, Instructions: len(v.launch.Filter) / 8}
	if s.Profile == "default" && s.Digest == "" {
		s.Digest = digestOf(profiles.Default())
	}
	return s
}

// mountsOf lists the mounts that flags or the image ask for. In the launch sources are
// absolute.
func (v containerView) mountsOf(flags *config.Config) []describedMount {
	mounts := []describedMount{}
	for _, m := range flags.Mounts {
		d := describedMount{Type: string(m.Type), Destination: m.Target, RW: !m.ReadOnly}
		if m.Type == config.Bind {
			d.Source, d.Propagation = v.bindSource(m), m.Propagation
			_, d.Mode = volumeOf(m)
		} else if strings.HasPrefix(m.Flag, "--tmpfs ") {
			continue // as with Docker, it is in HostConfig
		}
		mounts = append(mounts, d)
	}
	for _, path := range v.launch.Volumes {
		mounts = append(mounts, describedMount{Type: "volume", Destination: path, RW: true})
	}
	return mounts
}

func (v containerView) bindSource(m config.Mount) string {
	for _, bind := range v.launch.Binds {
		if bind.Destination == m.Target {
			return bind.Source
		}
	}
	return m.Source
}

// volumeOf reports whether -v asked for a mount, and returns its options.
func volumeOf(m config.Mount) (is bool, options string) {
	text, is := strings.CutPrefix(m.Flag, "--volume ")
	if parts := strings.SplitN(text, ":", 3); is && len(parts) == 3 {
		options = parts[2]
	}
	return is, options
}

func (v containerView) hostConfig(flags *config.Config) describedHostConfig {
	l := flags.Limits
	h := describedHostConfig{
		ContainerIDFile: flags.IDFile, NetworkMode: v.launch.Network, AutoRemove: !v.Keep, PortBindings: map[string][]portBinding{},
		RestartPolicy: restartPolicy{Name: "no"}, CapAdd: flags.NamedCapabilities, CapDrop: flags.Given["cap-drop"],
		DNS: textsOf(flags.Names.Servers), DNSOptions: flags.Names.Options, DNSSearch: flags.Names.Search, ExtraHosts: flags.Given["add-host"],
		GroupAdd: flags.Groups, OomScoreAdj: flags.OOMScoreAdj, Privileged: flags.Privileged, PublishAllPorts: flags.PublishAll,
		ReadonlyRootfs: flags.ReadOnly, SecurityOpt: flags.Given["security-opt"], ShmSize: flags.ShmSize, Sysctls: flags.Sysctls,
		IpcMode: string(flags.IPC), PidMode: hostMode(flags.HostPID), UTSMode: hostMode(flags.HostUTS), CgroupnsMode: "private",
		Runtime: "minirun", CgroupParent: flags.CgroupParent, Init: flags.Init, Annotations: flags.Annotations,
		Memory: l.Memory, MemorySwap: l.MemorySwap, MemoryReservation: l.MemoryReservation, NanoCpus: l.CPUs, CPUShares: l.CPUShares,
		CPUPeriod: l.CPUPeriod, CPUQuota: l.CPUQuota, CpusetCpus: l.CpusetCPUs, CpusetMems: l.CpusetMems,
		DeviceCgroupRules: flags.Given["device-cgroup-rule"], Devices: []describedDevice{}, Ulimits: []describedUlimit{},
	}
	if flags.HostCgroup {
		h.CgroupnsMode = "host"
	}
	if l.Memory > 0 && l.MemorySwap == 0 {
		h.MemorySwap = 2 * l.Memory
	}
	if l.Pids != 0 {
		h.PidsLimit = &l.Pids
	}
	if v.logPath() != "" {
		h.LogConfig.Type = "json-file"
	} else {
		h.LogConfig.Type = "none"
	}
	h.LogConfig.Config = map[string]string{}
	for _, option := range logOptions(v.launch) {
		name, value, _ := strings.Cut(option, "=")
		h.LogConfig.Config[name] = value
	}
	for _, m := range flags.Mounts {
		if is, options := volumeOf(m); is {
			h.Binds = append(h.Binds, strings.TrimSuffix(v.bindSource(m)+":"+m.Target+":"+options, ":"))
		} else if text, is := strings.CutPrefix(m.Flag, "--tmpfs "); is {
			path, options, _ := strings.Cut(text, ":")
			h.Tmpfs = addedTo(h.Tmpfs, path, options)
		}
	}
	for _, d := range flags.Devices {
		h.Devices = append(h.Devices, describedDevice{d.Host, d.Target, d.Access})
	}
	for _, r := range flags.Rlimits {
		h.Ulimits = append(h.Ulimits, describedUlimit{strings.ToLower(strings.TrimPrefix(r.Type, "RLIMIT_")), int64(r.Hard), int64(r.Soft)})
	}
	for _, p := range flags.Published {
		b := portBinding{HostPort: fmt.Sprint(p.First)}
		if p.Address.IsValid() {
			b.HostIP = p.Address.String()
		}
		h.PortBindings[p.Port.String()] = append(h.PortBindings[p.Port.String()], b)
	}
	return h
}

// addedTo returns a map with a value added. The map may be nil.
func addedTo[V any](all map[string]V, key string, value V) map[string]V {
	if all == nil {
		all = map[string]V{}
	}
	all[key] = value
	return all
}

func hostMode(on bool) string {
	if on {
		return "host"
	}
	return ""
}

func textsOf[T fmt.Stringer](values []T) []string {
	texts := []string{}
	for _, v := range values {
		texts = append(texts, v.String())
	}
	return texts
}

// networkSettings returns the device and ports that the container has while it runs.
func (v containerView) networkSettings() describedNetworks {
	n := describedNetworks{Ports: map[string][]portBinding{}, Networks: map[string]describedNetwork{}}
	if v.launch.Network == "" {
		return n
	}
	if !v.runs() {
		n.Networks[v.launch.Network] = describedNetwork{}
		return n
	}
	d := v.launch.Device
	text := func(address fmt.Stringer, valid bool) string {
		if valid {
			return address.String()
		}
		return ""
	}
	n.describedNetwork = describedNetwork{
		Gateway: text(d.Gateway, d.Gateway.IsValid()), IPAddress: text(d.Address, d.Address.IsValid()), IPPrefixLen: d.PrefixLen,
		IPv6Gateway: text(d.Gateway6, d.Gateway6.IsValid()), GlobalIPv6Address: text(d.Address6, d.Address6.IsValid()),
		GlobalIPv6PrefixLen: d.PrefixLen6, MacAddress: d.MAC,
	}
	n.Networks[v.launch.Network] = n.describedNetwork
	for _, p := range v.launch.Ports {
		host, port, _ := strings.Cut(p, "->")
		n.Ports[port] = append(n.Ports[port], bindingOf(host))
	}
	return n
}

// bindingOf splits the address of a published port.
func bindingOf(host string) portBinding {
	i := strings.LastIndexByte(host, ':')
	if i < 0 {
		return portBinding{HostPort: host}
	}
	return portBinding{HostIP: strings.Trim(host[:i], "[]"), HostPort: host[i+1:]}
}
