package record

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// profile is a profile as Docker's format has it, to be written.
type profile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet,omitempty"`
	Architectures    []string                 `json:"architectures,omitempty"`
	ArchMap          []archMap                `json:"archMap,omitempty"`
	Flags            *[]string                `json:"flags,omitempty"` // an empty list is not none
	ListenerPath     string                   `json:"listenerPath,omitempty"`
	ListenerMetadata string                   `json:"listenerMetadata,omitempty"`
	Syscalls         []*rule                  `json:"syscalls"`
}

type archMap struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"`
}

type rule struct {
	Names    []string                 `json:"names"`
	Action   specs.LinuxSeccompAction `json:"action"`
	ErrnoRet *uint                    `json:"errnoRet,omitempty"`
	Args     []condition              `json:"args,omitempty"`
	Comment  string                   `json:"comment,omitempty"`
	Includes *filter                  `json:"includes,omitempty"`
	Excludes *filter                  `json:"excludes,omitempty"`
}

type condition struct {
	Index    uint                       `json:"index"`
	Value    uint64                     `json:"value"`
	ValueTwo uint64                     `json:"valueTwo,omitempty"`
	Op       specs.LinuxSeccompOperator `json:"op"`
}

type filter struct {
	Caps      []string `json:"caps,omitempty"`
	Arches    []string `json:"arches,omitempty"`
	MinKernel string   `json:"minKernel,omitempty"`
}

// empty denies all calls.
func empty(arch syscalls.Arch) *profile {
	eperm := uint(unix.EPERM)
	return &profile{DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm, Architectures: []string{arch.OCI()}}
}

func fromProfile(p *seccomp.Profile) *profile {
	values := func(names []seccomp.Name) []string {
		var all []string
		for _, n := range names {
			all = append(all, n.Value)
		}
		return all
	}
	out := &profile{
		DefaultAction: p.DefaultAction, DefaultErrnoRet: p.DefaultErrnoRet, Architectures: values(p.Architectures),
		ListenerPath: p.ListenerPath.Value, ListenerMetadata: p.ListenerMetadata,
	}
	if p.Flags != nil {
		flags := append([]string{}, values(p.Flags)...)
		out.Flags = &flags
	}
	for _, m := range p.ArchMap {
		out.ArchMap = append(out.ArchMap, archMap{m.Architecture.Value, values(m.SubArchitectures)})
	}
	filterOf := func(f seccomp.Filter) *filter {
		if len(f.Caps)+len(f.Arches) == 0 && f.MinKernel.Value == "" {
			return nil
		}
		return &filter{values(f.Caps), values(f.Arches), f.MinKernel.Value}
	}
	for _, r := range p.Rules {
		to := &rule{Names: append([]string{}, values(r.Names)...), Action: r.Action, ErrnoRet: r.ErrnoRet, Comment: r.Comment, Includes: filterOf(r.Includes), Excludes: filterOf(r.Excludes)}
		for _, a := range r.Args {
			to.Args = append(to.Args, condition{a.Index, a.Value, a.ValueTwo, a.Op})
		}
		out.Syscalls = append(out.Syscalls, to)
	}
	return out
}

// plain reports whether a rule is for all arguments and all containers.
func (r *rule) plain() bool { return len(r.Args) == 0 && r.Includes == nil && r.Excludes == nil }

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
		return r.Action == specs.ActAllow && r.Includes == nil && r.Excludes == nil && slices.Equal(r.Args, args) && slices.Contains(r.Names, name)
	})
}

// isValue reports whether a rule lets one call through for a value of an argument, as those of
// [profile.allow] do, and has no comment.
func (r *rule) isValue(name string) bool {
	return r.Action == specs.ActAllow && r.Includes == nil && r.Excludes == nil && r.Comment == "" && len(r.Args) == 1 && slices.Equal(r.Names, []string{name})
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
	for _, r := range p.Syscalls {
		if r.plain() && r.Action == action && (errno == nil || r.ErrnoRet != nil && *r.ErrnoRet == *errno) {
			return r
		}
	}
	r := &rule{Names: []string{}, Action: action, ErrnoRet: errno}
	p.Syscalls = append(p.Syscalls, r)
	return r
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
	p.ArchMap = append(p.ArchMap, archMap{native.OCI(), []string{arch.OCI()}})
	return true
}

const (
	notePrefix = "recorded: "
	maxNote    = 64 // characters of a command
)

// note counts a run of a command in the comment of the list of calls. Someone's own comment
// stays.
func (p *profile) note(command string) {
	r := p.list(specs.ActAllow, nil)
	if r.Comment != "" && !strings.HasPrefix(r.Comment, notePrefix) {
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
	text, err := json.MarshalIndent(p, "", "\t")
	return append(text, '\n'), err
}
