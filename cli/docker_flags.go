package cli

import (
	"slices"

	ucli "github.com/urfave/cli/v2"
)

// dockerFlag is a flag of `docker run` that minirun does not have.
type dockerFlag struct {
	ucli.DocGenerationFlag // nil: only the methods below are called

	name, short string
	toggle      bool     // takes no value
	idle        []string // values that change nothing, which are accepted; anyValue stands for all
	instead     string   // the hint for any other value
}

const anyValue = "*"

func (f *dockerFlag) Names() []string  { return []string{f.name} }
func (f *dockerFlag) TakesValue() bool { return !f.toggle }
func (f *dockerFlag) GetUsage() string { return "" }

// check returns an error unless value changes nothing.
func (f *dockerFlag) check(value string) error {
	if slices.Contains(f.idle, value) || slices.Contains(f.idle, anyValue) {
		return nil
	}
	return &usageError{"--" + f.name + ": minirun does not have this flag of docker", f.instead}
}

// dockerFlagNamed returns the flag of that name, long or short, or nil.
func dockerFlagNamed(name string) *dockerFlag {
	for _, f := range dockerFlags() {
		if f.name == name || f.short == name && name != "" {
			return &f
		}
	}
	return nil
}

// updatesInDocker reports whether a flag that minirun does not have is one of `docker update`.
func updatesInDocker(name string) bool {
	return slices.Contains([]string{"blkio-weight", "cpu-rt-period", "cpu-rt-runtime", "kernel-memory", "restart"}, name)
}

// dockerFlags returns the flags of `docker run` 28.2 that minirun does not have, with hidden
// ones at the end of each group. A test compares them with `docker run --help`. It is a
// function, since a table would cost time at each start.
func dockerFlags() []dockerFlag {
	return slices.Concat(dockerLifeFlags(), dockerNetworkFlags(), dockerLimitFlags(), dockerOtherFlags())
}

// dockerValue and dockerToggle describe flags with and without a value.
func dockerValue(name, instead string, idle ...string) dockerFlag {
	return dockerFlag{name: name, idle: idle, instead: instead}
}

func dockerToggle(name, instead string, idle ...string) dockerFlag {
	return dockerFlag{name: name, toggle: true, idle: idle, instead: instead}
}

func dockerLifeFlags() []dockerFlag {
	const (
		health = "nothing watches a container's health: run the check in the container, or beside it"
	)
	return []dockerFlag{
		dockerValue("restart", "minirun has no daemon that would do it: use a systemd service with Restart=, or 'minirun restart'", "no", ""),
		dockerValue("health-cmd", health, ""),
		dockerValue("health-interval", health, "0", "0s"),
		dockerValue("health-retries", health, "0"),
		dockerValue("health-start-interval", health, "0", "0s"),
		dockerValue("health-start-period", health, "0", "0s"),
		dockerValue("health-timeout", health, "0", "0s"),
		dockerToggle("no-healthcheck", health, anyValue), // no container has one
	}
}

func dockerNetworkFlags() []dockerFlag {
	const (
		address = "a container's IPv6 address is made of its IPv4 address; --network host gives it this machine's addresses"
		links   = "containers have no names for each other; give the other's address: --add-host NAME:ADDRESS, --ip"
	)
	return []dockerFlag{
		dockerValue("ip6", address, ""),
		dockerValue("link-local-ip", address),
		dockerValue("link", links),
		dockerValue("network-alias", links),
		dockerValue("net-alias", links),
	}
}

func dockerLimitFlags() []dockerFlag {
	const (
		disk   = "minirun limits memory, processor time and processes (--memory, --cpus, --pids-limit), not block devices"
		cpus   = "limit processor time with --cpus, or choose processors with --cpuset-cpus"
		memory = "limit memory with --memory, and swap with --memory-swap"
	)
	return []dockerFlag{
		dockerValue("blkio-weight", disk, "0"),
		dockerValue("blkio-weight-device", disk),
		dockerValue("device-read-bps", disk),
		dockerValue("device-read-iops", disk),
		dockerValue("device-write-bps", disk),
		dockerValue("device-write-iops", disk),
		dockerValue("cpu-count", cpus, "0"),
		dockerValue("cpu-percent", cpus, "0"),
		dockerValue("cpu-rt-period", cpus, "0"),
		dockerValue("cpu-rt-runtime", cpus, "0"),
		dockerValue("io-maxbandwidth", disk, "0"),
		dockerValue("io-maxiops", disk, "0"),
		dockerValue("kernel-memory", "", anyValue), // --memory counts it; newer versions of Docker ignore the flag too
		dockerValue("memory-swappiness", memory, "-1"),
		dockerToggle("oom-kill-disable", "raise --memory, or leave it out", "false"),
		dockerValue("storage-opt", "what a container writes goes to the file system of --root; a --tmpfs has a size: --tmpfs DIR:size=64m"),
	}
}

func dockerOtherFlags() []dockerFlag {
	return []dockerFlag{
		dockerToggle("disable-content-trust", "signatures of images are not checked; pull an image by its digest: NAME@sha256:...", "true"),
		dockerValue("isolation", "a container is isolated by namespaces, the only way on Linux", "", "default"),
		dockerValue("runtime", "minirun is its own runtime, with the library that runc is made of", "", "runc"),
		dockerToggle("use-api-socket", "there is no daemon; bind Docker's socket with -v /run/docker.sock:/run/docker.sock", "false"),
		dockerValue("volume-driver", "-v binds directories and files of this machine", "", "local"),
		dockerValue("volumes-from", "name the directories: -v HOST:CONTAINER"),
	}
}
