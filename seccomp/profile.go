// Package seccomp reads, resolves and edits seccomp profiles: in Docker's format, as the
// linux.seccomp of a bundle's config.json, and as Kubernetes' SeccompProfile.
//
// [Parse] is strict: it refuses what Docker ignores silently, and every error has a
// position. [Profile.Resolve] returns the same list of rules as Docker's own resolver
// (github.com/moby/profiles/seccomp) for the same capabilities, architecture and kernel,
// and says for each rule why it is in the list or not. [Profile.Edit] changes the text
// of a profile and keeps the rest of it, byte for byte.
//
// Package compile makes a program of the list, and package analyze says what it does.
//
// Nothing here needs a privilege or cgo, and nothing installs a filter. A Profile and a
// Policy are not changed once they have been made, so they are safe for concurrent use.
//
// The API is not stable before version 1.
package seccomp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Profile is a parsed profile: the content of the file, rule by rule, with positions.
// Its fields are those that moby/profiles/seccomp documents, with the names for errno
// that Podman adds; a profile in another format, see [Parse], has fewer of them.
type Profile struct {
	File   string // its name in messages
	Source []byte

	DefaultAction    specs.LinuxSeccompAction
	DefaultActionPos Position
	DefaultErrnoRet  *uint
	Architectures    []Name
	ArchMap          []ArchMap
	Flags            []Name // nil when the profile has no such field
	ListenerPath     Name   // the socket of the agent that SCMP_ACT_NOTIFY asks, or zero
	ListenerMetadata string
	Rules            []Rule

	Remarks []*Remark // on keys that are ignored, or that are spelled in another case
}

// Remark is a warning about a profile that can be used.
type Remark struct {
	Problem
	ID string // the kind of warning: unknown-key or key-case
}

// Name is a string in a profile.
type Name struct {
	Value string
	Pos   Position
}

// ArchMap is an architecture and those whose programs its kernel also runs.
type ArchMap struct {
	Architecture     Name
	SubArchitectures []Name
}

// Rule is an element of syscalls.
type Rule struct {
	Pos       Position // of its opening brace
	Names     []Name
	Action    specs.LinuxSeccompAction
	ActionPos Position
	ErrnoRet  *uint
	Args      []Arg
	Comment   string
	Includes  Filter
	Excludes  Filter
}

// HasName reports whether the rule names a system call.
func (r *Rule) HasName(call string) bool {
	return slices.ContainsFunc(r.Names, func(n Name) bool { return n.Value == call })
}

// Arg is a condition on an argument.
type Arg struct {
	Pos      Position
	Index    uint
	Value    uint64
	ValueTwo uint64
	Op       specs.LinuxSeccompOperator
}

// Filter says to which containers and hosts a rule applies.
type Filter struct {
	Caps      []Name
	Arches    []Name
	MinKernel Name // "X.Y", or ""
}

// Kernel is a version of Linux, as precise as in profiles.
type Kernel struct{ Major, Minor int }

func (k Kernel) String() string { return fmt.Sprintf("%d.%d", k.Major, k.Minor) }

// AtLeast reports whether k is m or later.
func (k Kernel) AtLeast(m Kernel) bool {
	return k.Major > m.Major || k.Major == m.Major && k.Minor >= m.Minor
}

// ParseKernel reads "X.Y". Each part is at most 255, and 0.0 is an error.
func ParseKernel(text string) (Kernel, error) {
	major, minor, found := strings.Cut(text, ".")
	x, errX := strconv.ParseUint(major, 10, 8)
	y, errY := strconv.ParseUint(minor, 10, 8)
	if !found || errX != nil || errY != nil || x == 0 && y == 0 {
		return Kernel{}, fmt.Errorf("kernel version %q is not of the form X.Y, such as 4.8", text)
	}
	return Kernel{int(x), int(y)}, nil
}

// Gates returns the capabilities in the includes and excludes of all rules, sorted.
func (p *Profile) Gates() []string {
	var all []string
	for i := range p.Rules {
		for _, n := range slices.Concat(p.Rules[i].Includes.Caps, p.Rules[i].Excludes.Caps) {
			if !slices.Contains(all, n.Value) {
				all = append(all, n.Value)
			}
		}
	}
	slices.Sort(all)
	return all
}
