package cli

// containerDescription has the fields of `docker container inspect` (Docker's API 1.41) that
// mean something for minirun, and Seccomp and Capabilities, which Docker does not have.
type containerDescription struct {
	ID              string `json:"Id"`
	Created         string
	Path            string
	Args            []string
	State           describedState
	Image           string // as the user named it
	LogPath         string
	Name            string // with a / in front
	RestartCount    int
	Driver          string
	Platform        string
	AppArmorProfile string
	ExecIDs         []string
	HostConfig      describedHostConfig
	SizeRw          *int64 `json:",omitempty"`
	SizeRootFs      *int64 `json:",omitempty"`
	Mounts          []describedMount
	Config          describedConfig
	NetworkSettings describedNetworks

	Seccomp      describedSeccomp
	Capabilities []string // the bounding set
}

type describedState struct {
	Status                            string
	Running, Paused, Restarting, Dead bool
	Pid, ExitCode                     int
	Error, StartedAt, FinishedAt      string
}

type describedSeccomp struct {
	Profile      string // an absolute path, or default or unconfined
	Edited       bool   // by --seccomp-allow and its like
	Digest       string // of the profile's text
	Instructions int    // of the program that is installed
}

type describedMount struct {
	Type, Source, Destination, Mode string
	RW                              bool
	Propagation                     string
}

type describedConfig struct {
	Hostname, Domainname, User              string
	AttachStdin, AttachStdout, AttachStderr bool
	ExposedPorts                            map[string]struct{} `json:",omitempty"`
	Tty, OpenStdin, StdinOnce               bool
	Env, Cmd                                []string
	Image                                   string
	Volumes                                 map[string]struct{}
	WorkingDir                              string
	Entrypoint                              []string
	Labels                                  map[string]string
	StopSignal                              string `json:",omitempty"`
	StopTimeout                             *int   `json:",omitempty"`
}

type restartPolicy struct {
	Name              string
	MaximumRetryCount int
}

type portBinding struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

type describedDevice struct{ PathOnHost, PathInContainer, CgroupPermissions string }

type describedUlimit struct {
	Name       string
	Hard, Soft int64
}

type describedHostConfig struct {
	Binds           []string
	ContainerIDFile string
	LogConfig       struct {
		Type   string
		Config map[string]string
	}
	NetworkMode                                 string
	PortBindings                                map[string][]portBinding
	RestartPolicy                               restartPolicy
	AutoRemove                                  bool
	CapAdd, CapDrop                             []string
	CgroupnsMode                                string
	DNS                                         []string `json:"Dns"`
	DNSOptions                                  []string `json:"DnsOptions"`
	DNSSearch                                   []string `json:"DnsSearch"`
	ExtraHosts, GroupAdd                        []string
	IpcMode                                     string
	OomScoreAdj                                 int
	PidMode                                     string
	Privileged, PublishAllPorts, ReadonlyRootfs bool
	SecurityOpt                                 []string
	Tmpfs                                       map[string]string `json:",omitempty"`
	UTSMode                                     string
	ShmSize                                     int64
	Sysctls                                     map[string]string `json:",omitempty"`
	Annotations                                 map[string]string `json:",omitempty"`
	Runtime                                     string
	CPUShares                                   int64 `json:"CpuShares"`
	Memory, NanoCpus                            int64
	CgroupParent                                string
	CPUPeriod                                   int64 `json:"CpuPeriod"`
	CPUQuota                                    int64 `json:"CpuQuota"`
	CpusetCpus, CpusetMems                      string
	Devices                                     []describedDevice
	DeviceCgroupRules                           []string
	MemoryReservation, MemorySwap               int64
	PidsLimit                                   *int64
	Ulimits                                     []describedUlimit
	Init                                        bool
}

type describedNetwork struct {
	Gateway, IPAddress             string
	IPPrefixLen                    int
	IPv6Gateway, GlobalIPv6Address string
	GlobalIPv6PrefixLen            int
	MacAddress                     string
}

type describedNetworks struct {
	Ports map[string][]portBinding
	describedNetwork
	Networks map[string]describedNetwork
}
