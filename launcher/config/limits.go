package config

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultShmSize is Docker's.
const defaultShmSize = 64 << 20

// minMemory is Docker's lower bound: with less, the container's init cannot start.
const minMemory = 6 << 20

// minFiles is a lower bound of the soft limit on open files, which holds while
// init still mounts: it needs about 30.
const minFiles = 64

// rlimits reads --ulimit NAME=SOFT[:HARD]; a soft limit alone is the hard one
// too, and the last of a name counts.
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

// limits reads the flags that become limits of the cgroup. As with Docker 0 is
// no limit.
func (p *parser) limits() (err error) {
	c := p.c
	if c.Memory, err = p.size("memory", "512m"); err != nil {
		return err
	}
	if c.Memory != 0 && c.Memory < minMemory {
		return refuse("memory", p.value("memory"), "write a number and b, k, m or g, for example 512m", "less than the least that can be used, 6m")
	}
	if text, given := p.text("cpus"); given {
		if c.CPUs, err = nanoCPUs(text); err != nil {
			return err
		}
	}
	if text, given := p.text("pids-limit"); given {
		if c.Pids, err = strconv.ParseInt(text, 10, 64); err != nil {
			return refuse("pids-limit", text, "write how many processes and threads; -1 is no limit", "not a number")
		}
	}
	return nil
}

// size reads a flag whose value is a number of bytes, 0 where it is not given.
func (p *parser) size(flag, example string) (int64, error) {
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

// nanoCPUs reads --cpus: a number of processors, such as 1.5 or 1/2, in
// billionths.
func nanoCPUs(text string) (int64, error) {
	const help = "write how many processors' time, for example 0.5"
	if len(text) > 32 || strings.Trim(text, "+-.0123456789/") != "" { // no exponents, which may be huge
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
