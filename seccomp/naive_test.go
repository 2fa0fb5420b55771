package seccomp

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// naiveProfile is the format as docs/design.md describes it, read by encoding/json.
type naiveProfile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet"`
	Architectures    []specs.Arch             `json:"architectures"`
	ArchMap          []naiveArchMap           `json:"archMap"`
	Flags            []specs.LinuxSeccompFlag `json:"flags"`
	ListenerPath     string                   `json:"listenerPath"`
	ListenerMetadata string                   `json:"listenerMetadata"`
	Syscalls         []naiveRule              `json:"syscalls"`
}

type naiveArchMap struct {
	Architecture     specs.Arch   `json:"architecture"`
	SubArchitectures []specs.Arch `json:"subArchitectures"`
}

type naiveRule struct {
	Name     string                   `json:"name"`
	Names    []string                 `json:"names"`
	Action   specs.LinuxSeccompAction `json:"action"`
	ErrnoRet *uint                    `json:"errnoRet"`
	Args     []specs.LinuxSeccompArg  `json:"args"`
	Includes naiveFilter              `json:"includes"`
	Excludes naiveFilter              `json:"excludes"`
}

type naiveFilter struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// naiveHost is the target of a profile, in the notation of profiles.
type naiveHost struct {
	caps   []string
	arch   string // amd64
	oci    specs.Arch
	kernel string // X.Y
}

// naiveResolve is the description of the format, sentence by sentence.
func naiveResolve(t *testing.T, source []byte, host naiveHost) *specs.LinuxSeccomp {
	t.Helper()
	var p naiveProfile
	if err := json.Unmarshal(source, &p); err != nil {
		t.Fatal(err)
	}
	flat := &specs.LinuxSeccomp{
		DefaultAction: p.DefaultAction, DefaultErrnoRet: p.DefaultErrnoRet, Architectures: p.Architectures,
		Flags: p.Flags, ListenerPath: p.ListenerPath, ListenerMetadata: p.ListenerMetadata,
	}
	for _, m := range p.ArchMap { // the first entry that is the native architecture, plus its subArchitectures
		if m.Architecture == host.oci {
			flat.Architectures = append([]specs.Arch{m.Architecture}, m.SubArchitectures...)
			break
		}
	}
	for _, r := range p.Syscalls {
		if !r.Excludes.excludes(host) && r.Includes.includes(host) {
			names := r.Names
			if r.Name != "" {
				names = []string{r.Name}
			}
			flat.Syscalls = append(flat.Syscalls, specs.LinuxSyscall{Names: names, Action: r.Action, ErrnoRet: r.ErrnoRet, Args: r.Args})
		}
	}
	return flat
}

// any listed arch, any listed capability, or kernel >= minKernel drops the rule
func (f naiveFilter) excludes(host naiveHost) bool {
	for _, c := range f.Caps {
		if slices.Contains(host.caps, c) {
			return true
		}
	}
	return slices.Contains(f.Arches, host.arch) || f.MinKernel != "" && !older(host.kernel, f.MinKernel)
}

// arch in the list, all listed capabilities, kernel >= minKernel
func (f naiveFilter) includes(host naiveHost) bool {
	for _, c := range f.Caps {
		if !slices.Contains(host.caps, c) {
			return false
		}
	}
	return (len(f.Arches) == 0 || slices.Contains(f.Arches, host.arch)) && (f.MinKernel == "" || !older(host.kernel, f.MinKernel))
}

func older(a, b string) bool {
	number := func(v string) int {
		major, minor, _ := strings.Cut(v, ".")
		x, _ := strconv.Atoi(major)
		y, _ := strconv.Atoi(minor)
		return 1000*x + y
	}
	return number(a) < number(b)
}
