// Package seccomp reads Docker's seccomp profiles, resolves them for a
// container, compiles them, and explains what they do. Its verdicts are
// Docker's; its complaints and explanations name the line.
//
// Nothing here needs privileges, and nothing installs a filter.
package seccomp

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Profile is a parsed profile: the file's content, rule by rule, with the places
// where it stands. Its form is the one that moby/profiles/seccomp documents, with
// the names for errno that Podman adds; a profile in another form, see [Parse], has
// fewer of the fields.
type Profile struct {
	File   string // its name in messages
	Source []byte

	DefaultAction    specs.LinuxSeccompAction
	DefaultActionPos Position
	DefaultErrnoRet  *uint
	Architectures    []Name
	ArchMap          []ArchMap
	Flags            []Name // nil: there is no such field; else what the field lists
	ListenerPath     string
	ListenerMetadata string
	Rules            []Rule

	Remarks []*Remark // on keys that are not read as they are written
}

// Remark is a complaint about a profile that can be used all the same.
type Remark struct {
	Problem
	ID string // of LintRules
}

// Name is a word of a profile.
type Name struct {
	Value string
	Pos   Position
}

// ArchMap is an architecture whose kernel also runs programs of others.
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

// Arg is a condition on an argument.
type Arg struct {
	Pos      Position
	Index    uint
	Value    uint64
	ValueTwo uint64
	Op       specs.LinuxSeccompOperator
}

// Filter says for which containers and hosts a rule is there.
type Filter struct {
	Caps      []Name
	Arches    []Name
	MinKernel Name // "X.Y", or ""
}

// Kernel is a version of Linux as far as profiles look at it.
type Kernel struct{ Major, Minor int }

func (k Kernel) String() string { return fmt.Sprintf("%d.%d", k.Major, k.Minor) }

// AtLeast reports whether k is m or later.
func (k Kernel) AtLeast(m Kernel) bool {
	return k.Major > m.Major || k.Major == m.Major && k.Minor >= m.Minor
}

// ParseKernel reads "X.Y". Each part is at most 255, and 0.0 is none.
func ParseKernel(text string) (Kernel, error) {
	major, minor, found := strings.Cut(text, ".")
	x, errX := strconv.ParseUint(major, 10, 8)
	y, errY := strconv.ParseUint(minor, 10, 8)
	if !found || errX != nil || errY != nil || x == 0 && y == 0 {
		return Kernel{}, fmt.Errorf("kernel version %q is not of the form X.Y, such as 4.8", text)
	}
	return Kernel{int(x), int(y)}, nil
}
