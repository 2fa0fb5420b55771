package record

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// profile is a profile as Docker's format has it, to be written. Notes are an object's keys that
// the format does not have: what authors write there stays.
type profile struct {
	Notes            jsontext.Value           `json:",embed"`
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet,omitzero"`
	DefaultErrno     jsontext.Value           `json:"defaultErrno,omitzero"` // read only, see [fromProfile]
	Architectures    []string                 `json:"architectures,omitempty"`
	ArchMap          []archMap                `json:"archMap,omitempty"`
	Flags            *[]string                `json:"flags,omitzero"` // an empty list is not none
	ListenerPath     string                   `json:"listenerPath,omitzero"`
	ListenerMetadata string                   `json:"listenerMetadata,omitzero"`
	Syscalls         []*rule                  `json:"syscalls"`
}

type archMap struct {
	Notes            jsontext.Value `json:",embed"`
	Architecture     string         `json:"architecture"`
	SubArchitectures []string       `json:"subArchitectures"`
}

type rule struct {
	Notes    jsontext.Value           `json:",embed"`
	Name     jsontext.Value           `json:"name,omitzero"` // read only, as Errno
	Names    []string                 `json:"names"`
	Action   specs.LinuxSeccompAction `json:"action"`
	Errno    jsontext.Value           `json:"errno,omitzero"`
	ErrnoRet *uint                    `json:"errnoRet,omitzero"`
	Args     []condition              `json:"args,omitempty"`
	Comment  string                   `json:"comment,omitzero"`
	Includes filter                   `json:"includes,omitzero"`
	Excludes filter                   `json:"excludes,omitzero"`
}

type condition struct {
	Notes    jsontext.Value             `json:",embed"`
	Index    uint                       `json:"index"`
	Value    uint64                     `json:"value"`
	ValueTwo uint64                     `json:"valueTwo,omitzero"`
	Op       specs.LinuxSeccompOperator `json:"op"`
}

type filter struct {
	Notes     jsontext.Value `json:",embed"`
	Caps      []string       `json:"caps,omitempty"`
	Arches    []string       `json:"arches,omitempty"`
	MinKernel string         `json:"minKernel,omitzero"`
}

// empty denies all calls.
func empty(arch syscalls.Arch) *profile {
	eperm := uint(unix.EPERM)
	return &profile{DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm, Architectures: []string{arch.OCI()}}
}

// fromProfile returns a profile that has been read. Its notes are those of the text. All else is
// p's, which has one spelling for each thing.
func fromProfile(p *seccomp.Profile) (*profile, error) {
	values := func(names []seccomp.Name) []string {
		var all []string
		for _, n := range names {
			all = append(all, n.Value)
		}
		return all
	}
	out := &profile{}
	if err := json.Unmarshal(p.Source, out, json.MatchCaseInsensitiveNames(true)); err != nil {
		return nil, err
	}
	out.DefaultAction, out.DefaultErrnoRet, out.DefaultErrno = p.DefaultAction, p.DefaultErrnoRet, nil
	out.Architectures, out.Flags = values(p.Architectures), nil
	if p.Flags != nil {
		flags := append([]string{}, values(p.Flags)...)
		out.Flags = &flags
	}
	for i, m := range p.ArchMap {
		out.ArchMap[i].Architecture, out.ArchMap[i].SubArchitectures = m.Architecture.Value, values(m.SubArchitectures)
	}
	read := func(to *filter, f seccomp.Filter) {
		to.Caps, to.Arches, to.MinKernel = values(f.Caps), values(f.Arches), f.MinKernel.Value
	}
	for i, r := range p.Rules {
		to := out.Syscalls[i]
		to.Name, to.Names, to.Action = nil, values(r.Names), r.Action
		to.Errno, to.ErrnoRet, to.Comment = nil, r.ErrnoRet, r.Comment
		read(&to.Includes, r.Includes)
		read(&to.Excludes, r.Excludes)
		for j, a := range r.Args {
			to.Args[j].Index, to.Args[j].Value, to.Args[j].ValueTwo, to.Args[j].Op = a.Index, a.Value, a.ValueTwo, a.Op
		}
	}
	return out, nil
}

// equal reports whether two conditions are met by the same values.
func (c condition) equal(other condition) bool {
	return c.Index == other.Index && c.Value == other.Value && c.ValueTwo == other.ValueTwo && c.Op == other.Op
}

// plain reports whether a rule is for all arguments and all containers.
func (r *rule) plain() bool { return len(r.Args) == 0 && !r.gated() }

// gated reports whether a rule is for some containers or machines only.
func (r *rule) gated() bool { return !r.Includes.none() || !r.Excludes.none() }

func (f *filter) none() bool { return len(f.Caps)+len(f.Arches) == 0 && f.MinKernel == "" }

// someones reports whether an author has commented on a rule: what is added to it would be read as
// meant, too.
func (r *rule) someones() bool {
	notes := len(r.Notes) + len(r.Includes.Notes) + len(r.Excludes.Notes)
	return r.Comment != "" && !strings.HasPrefix(r.Comment, notePrefix) || notes > 0
}

// allow adds a call to what is let through, with any arguments or under conditions, and reports
// whether that changes anything.
func (p *profile) allow(name string, args []condition) bool {
	if p.allows(name) {
		return false
	}
	withdrawn := p.withdraw(name)
	if p.allowsSome(name, args) {
		return withdrawn
	}
	everything := p.list(specs.ActAllow, nil) // the first rule, whatever comes first
	if args == nil {
		p.addName(everything, name)
	} else {
		p.Syscalls = append(p.Syscalls, &rule{Names: []string{name}, Action: specs.ActAllow, Args: args})
	}
	return true
}

// allowsSome reports whether a rule lets a call through under some conditions, in all containers.
func (p *profile) allowsSome(name string, args []condition) bool {
	return args != nil && slices.ContainsFunc(p.Syscalls, func(r *rule) bool {
		return r.Action == specs.ActAllow && !r.gated() && slices.EqualFunc(r.Args, args, condition.equal) && slices.Contains(r.Names, name)
	})
}

// isValue reports whether a rule lets one call through for a value of an argument, as those of
// [profile.allow] do, and has no comment.
func (r *rule) isValue(name string) bool {
	return r.Action == specs.ActAllow && !r.gated() && r.Comment == "" && len(r.Notes) == 0 && len(r.Args) == 1 && slices.Equal(r.Names, []string{name})
}

// values counts the values for which a call is let through.
func (p *profile) values(name string) (n int) {
	for _, r := range p.Syscalls {
		if r.isValue(name) {
			n++
		}
	}
	return n
}

// removeValues removes the rules for values of a call that is let through with any.
func (p *profile) removeValues(name string) {
	p.Syscalls = slices.DeleteFunc(p.Syscalls, func(r *rule) bool { return r.isValue(name) })
}

// decides reports whether a rule for some arguments of a call does anything else than let it
// through. A rule for all arguments would take its meaning.
func (p *profile) decides(name string) bool {
	return slices.ContainsFunc(p.Syscalls, func(r *rule) bool {
		return len(r.Args) > 0 && r.Action != specs.ActAllow && slices.Contains(r.Names, name)
	})
}

// missing has a call get ENOSYS.
func (p *profile) missing(name string) bool {
	enosys := uint(unix.ENOSYS)
	p.withdraw(name)
	p.addName(p.list(specs.ActErrno, &enosys), name)
	return true
}

// withdraw takes a name out of the rules that would decide before others, and reports whether it was
// in one.
func (p *profile) withdraw(name string) (found bool) {
	for _, r := range p.Syscalls {
		if r.plain() && r.Action != specs.ActAllow && slices.Contains(r.Names, name) {
			r.Names = slices.DeleteFunc(r.Names, func(n string) bool { return n == name })
			found = true
		}
	}
	p.Syscalls = slices.DeleteFunc(p.Syscalls, func(r *rule) bool { return len(r.Names) == 0 && r.plain() && r.Action != specs.ActAllow })
	return found
}

// list returns the plain rule with an action, and makes it if there is none.
func (p *profile) list(action specs.LinuxSeccompAction, errno *uint) *rule {
	r, at := p.find(action, errno)
	if r == nil {
		r = &rule{Names: []string{}, Action: action, ErrnoRet: errno}
		p.Syscalls = slices.Insert(p.Syscalls, at, r)
	}
	return r
}

// find returns the first plain rule with an action that no author has commented on, or nil, and where
// a new one belongs: behind the first that has a comment, so that it decides before the same others.
func (p *profile) find(action specs.LinuxSeccompAction, errno *uint) (found *rule, at int) {
	at = len(p.Syscalls)
	for i, r := range slices.Backward(p.Syscalls) {
		switch {
		case !r.plain() || r.Action != action || errno != nil && (r.ErrnoRet == nil || *r.ErrnoRet != *errno):
		case r.someones():
			at = i + 1
		default:
			found = r
		}
	}
	return found, at
}

func (p *profile) addName(r *rule, name string) {
	at, _ := slices.BinarySearch(r.Names, name)
	r.Names = slices.Insert(r.Names, at, name)
}

// allows reports whether a plain rule lets a call through.
func (p *profile) allows(name string) bool {
	return slices.ContainsFunc(p.Syscalls, func(r *rule) bool {
		return r.plain() && r.Action == specs.ActAllow && slices.Contains(r.Names, name)
	})
}

// names reports whether any rule names a call.
func (p *profile) names(name string) bool {
	return slices.ContainsFunc(p.Syscalls, func(r *rule) bool { return slices.Contains(r.Names, name) })
}

// calls counts the calls of rules that let any through.
func (p *profile) calls() int {
	var all []string
	for _, r := range p.Syscalls {
		if r.Action == specs.ActAllow || r.Action == specs.ActLog {
			all = append(all, r.Names...)
		}
	}
	slices.Sort(all)
	return len(slices.Compact(all))
}

// addArchitecture adds one that native programs run beside, and reports whether it was not
// there. A profile without any is for the native one.
func (p *profile) addArchitecture(native, arch syscalls.Arch) bool {
	if len(p.ArchMap) == 0 {
		if slices.Contains(p.Architectures, arch.OCI()) || len(p.Architectures) == 0 && arch == native {
			return false
		}
		p.Architectures = append(p.Architectures, arch.OCI())
		return true
	}
	if arch == native {
		return false
	}
	for i := range p.ArchMap {
		m := &p.ArchMap[i]
		if m.Architecture != native.OCI() {
			continue
		}
		if slices.Contains(m.SubArchitectures, arch.OCI()) {
			return false
		}
		m.SubArchitectures = append(m.SubArchitectures, arch.OCI())
		return true
	}
	p.ArchMap = append(p.ArchMap, archMap{Architecture: native.OCI(), SubArchitectures: []string{arch.OCI()}})
	return true
}

const (
	notePrefix = "recorded: "
	maxNote    = 64 // characters of a command
)

// note counts a run of a command in the comment of the list of calls.
func (p *profile) note(command string) {
	r, _ := p.find(specs.ActAllow, nil)
	if r == nil {
		return
	}
	command = noteName(command)
	runs := regexp.MustCompile(`^(\d+) runs? of `)
	var notes []string
	found := false
	for part := range strings.SplitSeq(strings.TrimPrefix(r.Comment, notePrefix), "; ") {
		m := runs.FindStringSubmatch(part)
		if m == nil {
			continue
		}
		if part == m[0]+command {
			n, _ := strconv.Atoi(m[1])
			part, found = fmt.Sprintf("%d runs of %s", n+1, command), true
		}
		notes = append(notes, part)
	}
	if !found {
		notes = append(notes, "1 run of "+command)
	}
	r.Comment = notePrefix + strings.Join(notes, "; ")
}

// noteName is a command as comments have it.
func noteName(command string) string {
	name := []rune(strings.Map(func(c rune) rune {
		if c == ';' || !strconv.IsPrint(c) {
			return '?'
		}
		return c
	}, command))
	return string(name[:min(len(name), maxNote)])
}

func (p *profile) text() ([]byte, error) {
	text, err := json.Marshal(p, jsontext.WithIndent("\t"))
	return append(text, '\n'), err
}
