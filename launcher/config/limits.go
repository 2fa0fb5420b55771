package config

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultShmSize is Docker's.
const defaultShmSize = 64 << 20

// minMemory is Docker's lower bound: a container's init cannot start with less.
const minMemory = 6 << 20

// minFiles is the lower bound of the soft limit on open files, which applies while
// init still mounts: it needs about 30.
const minFiles = 64

// maxPids is the kernel's PID_MAX_LIMIT (linux/threads.h).
const maxPids = 4 << 20

// rlimits reads --ulimit NAME=SOFT[:HARD]. A soft limit alone is the hard one too,
// and the last limit of a name counts.
func rlimits(ulimits []string) ([]specs.POSIXRlimit, error) {
	var limits []specs.POSIXRlimit
	for _, text := range ulimits {
		u, err := units.ParseUlimit(text)
		if number := new(strconv.NumError); errors.As(err, &number) {
			err = fmt.Errorf("%q is not a whole number", number.Num)
		}
		if err != nil {
			return nil, refuse("ulimit", text, "write NAME=SOFT[:HARD], for example nofile=1024:2048; -1 is unlimited", "%w", err)
		}
		if u.Name == "nofile" && u.Soft >= 0 && u.Soft < minFiles {
			return nil, refuse("ulimit", text, fmt.Sprintf("let a shell set less: sh -c 'ulimit -n %d && exec COMMAND'", u.Soft),
				"a start itself needs %d open files", minFiles)
		}
		name := "RLIMIT_" + strings.ToUpper(u.Name)
		limits = slices.DeleteFunc(limits, func(l specs.POSIXRlimit) bool { return l.Type == name })
		limits = append(limits, specs.POSIXRlimit{Type: name, Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return limits, nil
}

// Limits are the limits of the container's cgroup. 0 and "" mean no limit.
type Limits struct {
	Memory            int64  // bytes
	MemorySwap        int64  // bytes of memory and swap together; -1 is no limit, 0 twice the memory
	MemoryReservation int64  // bytes that the container keeps when memory is short
	CPUs              int64  // billionths of a processor's time
	CPUPeriod         int64  // microseconds
	CPUQuota          int64  // microseconds in each period
	CPUShares         int64  // weight against others, 1024 being the usual one
	CpusetCPUs        string // processors to run on: 0-2,4
	CpusetMems        string // memory nodes to use
	Pids              int64  // processes and threads; -1 is no limit too
}

// limits reads the flags that become limits of the cgroup. As with Docker, 0 is no
// limit.
func (p *flagParser) limits() (err error) {
	l := &p.c.Limits
	if err := p.memory(l); err != nil {
		return err
	}
	if err := p.processors(l); err != nil {
		return err
	}
	if text, given := p.text("pids-limit"); given {
		const help = "write how many processes and threads; -1 is no limit"
		if l.Pids, err = strconv.ParseInt(text, 0, 64); err != nil {
			return refuse("pids-limit", text, help, "not a number")
		}
		if l.Pids > maxPids {
			return refuse("pids-limit", text, help, "more than the %d that Linux can have", maxPids)
		}
	}
	oom, err := p.number("oom-score-adj", -1000, 1000)
	p.c.OOMScoreAdj = int(oom)
	return err
}

func (p *flagParser) memory(l *Limits) (err error) {
	if l.Memory, err = p.size("memory", "512m"); err != nil {
		return err
	}
	if l.MemoryReservation, err = p.size("memory-reservation", "256m"); err != nil {
		return err
	}
	swap := p.value("memory-swap")
	if swap == "-1" {
		l.MemorySwap = -1
	} else if l.MemorySwap, err = p.size("memory-swap", "1g"); err != nil {
		return err
	}
	const help = "write a number and b, k, m or g, for example 512m"
	switch {
	case l.Memory != 0 && l.Memory < minMemory:
		return refuse("memory", p.value("memory"), help, "less than the minimum, 6m")
	case l.MemorySwap > 0 && l.Memory == 0:
		return refuse("memory-swap", swap, "give --memory too", "it limits memory and swap together")
	case l.MemorySwap > 0 && l.MemorySwap < l.Memory:
		return refuse("memory-swap", swap, "it limits memory and swap together; -1 is no limit", "less than --memory")
	case l.MemoryReservation != 0 && l.MemoryReservation < minMemory:
		return refuse("memory-reservation", p.value("memory-reservation"), help, "less than the minimum, 6m")
	case l.Memory != 0 && l.MemoryReservation > l.Memory:
		return refuse("memory-reservation", p.value("memory-reservation"), "", "more than --memory")
	}
	return nil
}

func (p *flagParser) processors(l *Limits) (err error) {
	if text, given := p.text("cpus"); given {
		if l.CPUs, err = nanoCPUs(text); err != nil {
			return err
		}
	}
	if l.CPUPeriod, err = p.number("cpu-period", 1000, 1_000_000); err != nil {
		return err
	}
	if l.CPUQuota, err = p.number("cpu-quota", 1000, math.MaxInt64); err != nil {
		if n, wrong := strconv.ParseInt(p.value("cpu-quota"), 0, 64); wrong != nil || n > 0 {
			return err
		}
		l.CPUQuota = 0 // as with Docker, a negative quota is no limit
	}
	if l.CPUShares, err = p.number("cpu-shares", 2, 262_144); err != nil {
		return err
	}
	if l.CPUs != 0 && (l.CPUQuota != 0 || l.CPUPeriod != 0) {
		return refuse("cpus", p.value("cpus"), "leave out --cpu-quota and --cpu-period", "--cpu-quota and --cpu-period say the same")
	}
	if l.CpusetCPUs, err = p.set("cpuset-cpus"); err != nil {
		return err
	}
	l.CpusetMems, err = p.set("cpuset-mems")
	return err
}

// number reads a flag whose value is 0, as if it were not given, or within bounds.
// As with Docker it can be octal, hexadecimal or binary, in Go's notation.
func (p *flagParser) number(flag string, from, to int64) (int64, error) {
	text, given := p.text(flag)
	if !given {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 0, 64)
	switch {
	case err != nil:
		return 0, refuse(flag, text, "", "not a number")
	case n != 0 && (n < from || n > to):
		return 0, refuse(flag, text, "", "not between %d and %d", from, to)
	}
	return n, nil
}

// set reads a flag whose value lists numbers and ranges, such as 0-2,4.
func (p *flagParser) set(flag string) (string, error) {
	text := p.value(flag)
	if _, err := ParseSet(text); text != "" && err != nil {
		return "", refuse(flag, text, "write numbers and ranges, for example 0-2,4", "%w", err)
	}
	return text, nil
}

// ParseSet reads a list of numbers and ranges, such as 0-2,4 (cpuset(7), list
// format).
func ParseSet(text string) (map[int]bool, error) {
	set := map[int]bool{}
	for _, part := range strings.Split(strings.TrimSpace(text), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 13)
		last, err2 := strconv.ParseUint(to, 10, 13)
		if err != nil || err2 != nil || first > last {
			return nil, fmt.Errorf("%q is neither a number nor a range", part)
		}
		for n := first; n <= last; n++ {
			set[int(n)] = true
		}
	}
	return set, nil
}

// size reads a flag whose value is a number of bytes, 0 if it is not given.
func (p *flagParser) size(flag, example string) (int64, error) {
	text, given := p.text(flag)
	if !given {
		return 0, nil
	}
	size, err := bytes(text)
	if err != nil {
		return 0, refuse(flag, text, "write a number and b, k, m or g, for example "+example, "%w", err)
	}
	return size, nil
}

var errNoSize = errors.New("not a size")

// bytes reads a number of bytes such as 512m.
func bytes(text string) (int64, error) {
	size, err := units.RAMInBytes(text)
	if err != nil || size < 0 {
		return 0, errNoSize
	}
	return size, nil
}

// nanoCPUs reads --cpus in billionths: a number of processors in Go's notation for
// rational numbers, such as 1.5, 1/2 or 1e-1.
func nanoCPUs(text string) (int64, error) {
	const help = "write a number of processors, for example 0.5"
	exponent := 0 // its length
	if i := strings.LastIndexAny(text, "eEpP"); i >= 0 {
		exponent = len(text) - i - 1
	}
	if len(text) > 32 || exponent > 3 { // the number would be huge
		return 0, refuse("cpus", text, help, "not a number")
	}
	cpus, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, refuse("cpus", text, help, "not a number")
	}
	nano := cpus.Mul(cpus, big.NewRat(1e9, 1))
	switch {
	case !nano.IsInt():
		return 0, refuse("cpus", text, help, "too many decimal places")
	case nano.Sign() != 0 && (nano.Cmp(big.NewRat(1e7, 1)) < 0 || !nano.Num().IsInt64()):
		return 0, refuse("cpus", text, help, "not a number of processors from 0.01 up")
	}
	return nano.Num().Int64(), nil
}
