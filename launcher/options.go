package launcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options say what to run and how. Their texts are spelled as the flags of
// `docker run` that they are named after.
type Options struct {
	Root string // the container's root file system, an absolute path in the caller's mount namespace

	Args     []string // the command and its arguments; not empty
	Env      []string // NAME=VALUE, later ones win
	Workdir  string   // made when it is not there; "" is /
	User     string   // [USER|UID][:GROUP|:GID]; "" is root
	GroupAdd []string
	Hostname string // "" is the container's ID

	Terminal    bool // -t: a terminal of the container's own
	Interactive bool // -i: pass standard input on
	Init        bool // --init: a PID 1 that forwards signals and reaps
	ReadOnly    bool // --read-only
	Privileged  bool

	Capabilities    []string          // the bounding set, as BoundingSet and Grantable give it
	NoNewPrivileges bool              // --security-opt no-new-privileges
	AppArmor        string            // a profile's name, "unconfined", or "" for Docker's default where it is loaded
	Filter          []unix.SockFilter // the seccomp program; nil is unconfined
	FilterFlags     uint32            // SECCOMP_FILTER_FLAG_* to install it with

	Network string   // "none" or "host"
	Volumes []string // -v HOST:CONTAINER[:OPTIONS]
	Mounts  []string // --mount type=bind|tmpfs,...
	Tmpfs   []string // --tmpfs CONTAINER[:OPTIONS]
	Devices []string // --device HOST[:CONTAINER[:rwm]]
	Ulimits []string // --ulimit NAME=SOFT[:HARD]
	ShmSize string   // size of /dev/shm; "" is 64m
	Memory  string   // limit, 512m; "" is none
	CPUs    string   // how many, 1.5; "" is no limit
	Pids    int64    // how many processes and threads; 0 or -1 is no limit

	CgroupManager string   // "cgroupfs" or "systemd"
	Labels        []string // KEY[=VALUE], kept as the spec's annotations

	Stdin          *os.File
	Stdout, Stderr *os.File

	Debug func(format string, args ...any) // told what may help to understand a start; nil is silence
}

func (o *Options) debugf(format string, args ...any) {
	if o.Debug != nil {
		o.Debug(format, args...)
	}
}

// defaultPath is the PATH of a container whose image sets none, as Docker's.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the container's: Docker's PATH, HOSTNAME, TERM and HOME, then
// the image's and the user's on top.
func environment(o *Options, hostname, home string) []string {
	env := []string{defaultPath, "HOSTNAME=" + hostname}
	if o.Terminal {
		env = append(env, "TERM=xterm")
	}
	for _, pair := range o.Env {
		name, _, _ := strings.Cut(pair, "=")
		if i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") }); i >= 0 {
			env[i] = pair
		} else {
			env = append(env, pair)
		}
	}
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		env = append(env, "HOME="+home)
	}
	return env
}

// minFiles is a lower bound of the soft limit on open files, which holds while
// init still mounts: it needs about 30.
const minFiles = 64

// rlimits turns --ulimit into the spec's; a soft limit alone is the hard one too.
func rlimits(ulimits []string) ([]specs.POSIXRlimit, error) {
	var limits []specs.POSIXRlimit
	for _, text := range ulimits {
		u, err := units.ParseUlimit(text)
		if err != nil {
			return nil, &Error{Op: "--ulimit " + text, Err: err, Help: "write NAME=SOFT[:HARD], for example nofile=1024:2048; -1 is unlimited"}
		}
		if u.Name == "nofile" && u.Soft >= 0 && u.Soft < minFiles {
			return nil, &Error{
				Op: "--ulimit " + text, Err: fmt.Errorf("a start itself needs %d open files", minFiles),
				Help: fmt.Sprintf("let a shell set less: sh -c 'ulimit -n %d && exec COMMAND'", u.Soft),
			}
		}
		limits = slices.DeleteFunc(limits, func(l specs.POSIXRlimit) bool { return l.Type == "RLIMIT_"+strings.ToUpper(u.Name) })
		limits = append(limits, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name),
			Soft: uint64(u.Soft),
			Hard: uint64(u.Hard),
		})
	}
	return limits, nil
}

// rlimitNumber is RLIMIT_* of asm-generic/resource.h, as setrlimit(2) takes it.
var rlimitNumber = map[string]int{
	"RLIMIT_AS":         unix.RLIMIT_AS,
	"RLIMIT_CORE":       unix.RLIMIT_CORE,
	"RLIMIT_CPU":        unix.RLIMIT_CPU,
	"RLIMIT_DATA":       unix.RLIMIT_DATA,
	"RLIMIT_FSIZE":      unix.RLIMIT_FSIZE,
	"RLIMIT_LOCKS":      unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK":    unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE":   unix.RLIMIT_MSGQUEUE,
	"RLIMIT_NICE":       unix.RLIMIT_NICE,
	"RLIMIT_NOFILE":     unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC":      unix.RLIMIT_NPROC,
	"RLIMIT_RSS":        unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO":     unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME":     unix.RLIMIT_RTTIME,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_STACK":      unix.RLIMIT_STACK,
}

// minMemory is Docker's lower bound: with less, the container's init cannot start.
const minMemory = 6 << 20

// cpuPeriod is the kernel's default CFS period in microseconds.
const cpuPeriod = 100_000

// resources turns the limits into the spec's, without devices. As with Docker 0
// is no limit.
func resources(o *Options) (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{}
	var err error
	if r.Memory, err = memory(o); err != nil {
		return nil, err
	}
	if o.CPUs != "" {
		cpus, err := strconv.ParseFloat(o.CPUs, 64)
		if err != nil || cpus != 0 && !(cpus >= 0.01 && cpus <= float64(runtime.NumCPU())) {
			return nil, &Error{
				Op: "--cpus " + o.CPUs, Err: fmt.Errorf("not a number from 0.01 to %d, the processors that there are", runtime.NumCPU()),
				Help: "write how many processors' time, for example 0.5",
			}
		}
		if cpus != 0 {
			quota, period := int64(cpus*cpuPeriod), uint64(cpuPeriod)
			r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
		}
	}
	if o.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &o.Pids}
	}
	return r, nil
}

// memory is the limit of --memory, nil where there is none.
func memory(o *Options) (*specs.LinuxMemory, error) {
	if o.Memory == "" {
		return nil, nil
	}
	limit, err := units.RAMInBytes(o.Memory)
	if err == nil && limit != 0 && limit < minMemory {
		err = errors.New("less than the least that can be used, 6m")
	}
	switch {
	case err != nil:
		return nil, &Error{Op: "--memory " + o.Memory, Err: err, Help: "write a number and b, k, m or g, for example 512m"}
	case limit == 0:
		return nil, nil
	case !swapCounts():
		o.debugf("--memory: this kernel counts no swap, so there is no limit to it")
		return &specs.LinuxMemory{Limit: &limit}, nil
	}
	swap := 2 * limit // Docker's default: as much swap again
	return &specs.LinuxMemory{Limit: &limit, Swap: &swap}, nil
}

// swapCounts reports whether swap can be limited, found out as Docker does: a
// kernel without swap, or without accounting for it, lacks the file.
func swapCounts() bool {
	file := "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
	if cgroups.IsCgroup2UnifiedMode() {
		own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
		if err != nil {
			return false
		}
		file = filepath.Join("/sys/fs/cgroup", own[""], "memory.swap.max")
	}
	_, err := os.Stat(file)
	return err == nil
}
