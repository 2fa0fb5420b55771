package seccomp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/spelling"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Parse reads a profile. file is its name in messages.
//
// It is strict: what Docker would skip silently, such as a key that it does not
// know, is an error here. The error is [Problems], all that there are: a file
// that is not JSON has one, since nothing that follows can be read.
func Parse(file string, data []byte) (*Profile, error) {
	p := &parser{lines: newLines(file, data), profile: &Profile{File: file, Source: data}}
	root, err := parseJSON(data)
	if syntax, ok := err.(*syntaxError); ok { //nolint:errorlint // parseJSON has no other
		if len(strings.TrimSpace(string(data))) == 0 {
			return nil, Problems{{Position{file, 1, 1}, "the profile is empty", "start from 'minirun seccomp edit'"}}
		}
		return nil, Problems{{p.lines.at(syntax.offset), "not JSON: " + syntax.Error(), ""}}
	}
	p.readProfile(root)
	if len(p.problems) > 0 {
		p.problems.sort()
		return nil, p.problems
	}
	return p.profile, nil
}

// The words of the format. What a set is for is a profile's own business:
// SCMP_ACT_KILL is an old name for SCMP_ACT_KILL_THREAD.
var (
	actions = []string{
		"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
		"SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
	}
	operators = []string{
		"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
	}
	filterFlags = []string{
		"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
		"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
	}
)

type parser struct {
	lines    *lines
	profile  *Profile
	problems Problems
}

func (p *parser) complain(n *node, hint, format string, args ...any) {
	p.problems = append(p.problems, &Problem{p.lines.at(n.offset), fmt.Sprintf(format, args...), hint})
}

// object calls read for each member of an object by its key, and complains of
// keys that are unknown or there twice. It reports whether n is an object; null
// is not, and no problem.
func (p *parser) object(n *node, what string, read map[string]func(*node)) bool {
	if n.kind == 'n' {
		return false
	}
	if n.kind != '{' {
		p.complain(n, "", "%s must be an object", what)
		return false
	}
	seen := map[string]bool{}
	for _, f := range n.fields {
		key := f.name.text
		switch {
		case seen[key]:
			p.complain(f.name, "remove one of the two", "duplicate key %q", key)
		case read[key] == nil:
			p.complain(f.name, didYouMean(key, keys(read)), "unknown key %q in %s", key, what)
		default:
			read[key](f.value)
		}
		seen[key] = true
	}
	return true
}

func (p *parser) list(n *node, what string, read func(*node)) {
	if n.kind != 'n' && n.kind != '[' {
		p.complain(n, "", "%s must be a list", what)
	}
	for _, item := range n.items {
		read(item)
	}
}

func (p *parser) text(n *node, what string) Name {
	if n.kind != '"' {
		p.complain(n, "", "%s must be a string", what)
	}
	return Name{n.text, p.lines.at(n.offset)}
}

// word is a text that is one of a set.
func (p *parser) word(n *node, what string, set []string) Name {
	name := p.text(n, what)
	if n.kind == '"' && !slices.Contains(set, name.Value) {
		p.complain(n, didYouMean(name.Value, set), "unknown %s %q", what, name.Value)
	}
	return name
}

func (p *parser) words(n *node, what string, set []string) []Name {
	names := []Name{}
	p.list(n, what+" list", func(item *node) { names = append(names, p.word(item, what, set)) })
	return names
}

// number is a whole number from 0 to most.
func (p *parser) number(n *node, what string, most uint64) uint64 {
	if n.kind != '0' {
		p.complain(n, "", "%s must be a number", what)
		return 0
	}
	v, err := strconv.ParseUint(n.text, 10, 64)
	if err != nil || v > most {
		p.complain(n, "", "%s %s is not a whole number from 0 to %d", what, n.text, most)
	}
	return v
}

func (p *parser) readProfile(root *node) {
	pr := p.profile
	var architectures, archMap, defaultErrno *node
	ok := p.object(root, "the profile", map[string]func(*node){
		"defaultAction": func(n *node) {
			name := p.word(n, "action", actions)
			pr.DefaultAction, pr.DefaultActionPos = specs.LinuxSeccompAction(name.Value), name.Pos
		},
		"defaultErrnoRet": func(n *node) { pr.DefaultErrnoRet = p.errno(n, "defaultErrnoRet") },
		"defaultErrno":    func(n *node) { defaultErrno = n },
		"architectures": func(n *node) {
			architectures = n
			pr.Architectures = p.words(n, "architecture", archNames())
		},
		"archMap": func(n *node) {
			archMap = n
			p.list(n, "archMap", p.readArchMap)
		},
		"flags": func(n *node) {
			if n.kind != 'n' {
				pr.Flags = p.words(n, "flag", filterFlags)
			}
		},
		"listenerPath":     func(n *node) { pr.ListenerPath = p.text(n, "listenerPath").Value },
		"listenerMetadata": func(n *node) { pr.ListenerMetadata = p.text(n, "listenerMetadata").Value },
		"syscalls":         func(n *node) { p.list(n, "syscalls", p.readRule) },
	})
	if !ok {
		if root.kind == 'n' {
			p.complain(root, "", "the profile must be an object")
		}
		return
	}
	pr.DefaultErrnoRet = p.errnoByName(pr.DefaultErrnoRet, defaultErrno)
	if pr.DefaultAction == "" && !p.has(root, "defaultAction") {
		hint := `the key "defaultAction" is required; SCMP_ACT_ERRNO denies what no rule allows`
		if len(root.fields) == 0 {
			hint = "Docker takes {} as no filter at all; say --seccomp unconfined if that is what you want"
		}
		p.complain(root, hint, "the profile has no defaultAction")
	}
	if architectures != nil && archMap != nil && len(architectures.items) > 0 && len(archMap.items) > 0 {
		p.complain(archMap, "use one of the two", "both architectures and archMap are given")
	}
}

func (p *parser) has(n *node, key string) bool {
	return slices.ContainsFunc(n.fields, func(f field) bool { return f.name.text == key })
}

func (p *parser) readArchMap(n *node) {
	var m ArchMap
	p.object(n, "an element of archMap", map[string]func(*node){
		"architecture":     func(n *node) { m.Architecture = p.word(n, "architecture", archNames()) },
		"subArchitectures": func(n *node) { m.SubArchitectures = p.words(n, "architecture", archNames()) },
	})
	p.profile.ArchMap = append(p.profile.ArchMap, m)
}

func (p *parser) readRule(n *node) {
	r := Rule{Pos: p.lines.at(n.offset)}
	var name, names, errnoName *node
	ok := p.object(n, "a rule", map[string]func(*node){
		"names": func(n *node) {
			names = n
			p.list(n, "names", func(item *node) { r.Names = append(r.Names, p.callName(item)) })
		},
		"name": func(n *node) { name = n },
		"action": func(n *node) {
			action := p.word(n, "action", actions)
			r.Action, r.ActionPos = specs.LinuxSeccompAction(action.Value), action.Pos
		},
		"errnoRet": func(n *node) { r.ErrnoRet = p.errno(n, "errnoRet") },
		"errno":    func(n *node) { errnoName = n },
		"args":     func(n *node) { p.list(n, "args", func(item *node) { p.readArg(item, &r) }) },
		"comment":  func(n *node) { r.Comment = p.text(n, "comment").Value },
		"includes": func(n *node) { p.readFilter(n, "includes", &r.Includes) },
		"excludes": func(n *node) { p.readFilter(n, "excludes", &r.Excludes) },
	})
	if !ok {
		if n.kind == 'n' {
			p.complain(n, "", "a rule must be an object")
		}
		return
	}
	r.ErrnoRet = p.errnoByName(r.ErrnoRet, errnoName)
	if name != nil && name.text != "" {
		if names != nil && len(names.items) > 0 {
			p.complain(name, "use names", "both name and names are given")
		}
		r.Names = append(r.Names, p.callName(name))
	}
	if len(r.Names) == 0 && (names == nil || names.kind != '[' || len(names.items) == 0) {
		p.complain(n, `give "names": ["CALL"]`, "the rule names no system call")
	}
	if r.Action == "" && !p.has(n, "action") {
		p.complain(n, `give "action": "SCMP_ACT_ALLOW", for example`, "the rule has no action")
	}
	p.profile.Rules = append(p.profile.Rules, r)
}

// callName is any word: whether there is such a call is lint's concern, since a
// profile may name calls of kernels to come.
func (p *parser) callName(n *node) Name {
	name := p.text(n, "a system call's name")
	if n.kind == '"' && name.Value == "" {
		p.complain(n, "", "a system call's name is empty")
	}
	return name
}

func (p *parser) readArg(n *node, r *Rule) {
	a := Arg{Pos: p.lines.at(n.offset)}
	ok := p.object(n, "a condition", map[string]func(*node){
		"index":    func(n *node) { a.Index = uint(p.number(n, "argument index", 5)) },
		"value":    func(n *node) { a.Value = p.number(n, "value", 1<<64-1) },
		"valueTwo": func(n *node) { a.ValueTwo = p.number(n, "valueTwo", 1<<64-1) },
		"op":       func(n *node) { a.Op = specs.LinuxSeccompOperator(p.word(n, "operator", operators).Value) },
	})
	switch {
	case !ok && n.kind == 'n':
		p.complain(n, "", "a condition must be an object")
	case ok && a.Op == "" && !p.has(n, "op"):
		p.complain(n, `give "op": "SCMP_CMP_EQ", for example`, "the condition has no operator")
	}
	r.Args = append(r.Args, a)
}

func (p *parser) readFilter(n *node, what string, f *Filter) {
	p.object(n, what, map[string]func(*node){
		"caps":   func(n *node) { f.Caps = p.words(n, "capability", capabilities()) },
		"arches": func(n *node) { f.Arches = p.words(n, "architecture", hostArches()) },
		"minKernel": func(n *node) {
			f.MinKernel = p.text(n, "minKernel")
			if _, err := ParseKernel(f.MinKernel.Value); err != nil && n.kind == '"' {
				p.complain(n, "", "minKernel: %v", err)
			}
		},
	})
}

// maxErrno is MAX_ERRNO of linux/err.h; seccomp(2) cuts off what is above.
const maxErrno = 4095

func (p *parser) errno(n *node, what string) *uint {
	if n.kind == 'n' {
		return nil
	}
	v := uint(p.number(n, what, maxErrno))
	return &v
}

// errnoByName takes Podman's errno or defaultErrno into account, which may stand
// beside the number when both mean the same.
func (p *parser) errnoByName(number *uint, n *node) *uint {
	if n == nil || n.kind == 'n' {
		return number
	}
	name := p.text(n, "an errno's name")
	if n.kind != '"' || name.Value == "" {
		return number
	}
	v, ok := errnoNumber(name.Value)
	switch {
	case !ok:
		p.complain(n, didYouMean(name.Value, errnoNames()), "unknown errno %q", name.Value)
	case number != nil && *number != v:
		p.complain(n, "use one of the two", "errno %s is %d, but the number given is %d", name.Value, v, *number)
	}
	return &v
}

func errnoNumber(name string) (uint, bool) {
	switch name { // names of errno(3) that share a number with another
	case "EWOULDBLOCK":
		name = "EAGAIN"
	case "EDEADLOCK":
		name = "EDEADLK"
	case "EOPNOTSUPP":
		name = "ENOTSUP"
	}
	i := slices.Index(errnoNames(), name)
	return uint(i + 1), i >= 0
}

// errnoNames lists errno 1 and up; numbers that mean nothing are "".
func errnoNames() []string {
	names := make([]string, 133) // EHWPOISON, the last one
	for i := range names {
		names[i] = unix.ErrnoName(unix.Errno(i + 1))
	}
	return names
}

var capabilities = sync.OnceValue(func() []string {
	known := capability.ListKnown()
	names := make([]string, len(known))
	for i, c := range known {
		names[i] = "CAP_" + strings.ToUpper(c.String())
	}
	return names
})

// archNames are the SCMP_ARCH_ names, hostArches those of includes.arches.
var (
	archNames = sync.OnceValue(func() []string {
		var names []string
		for _, a := range syscalls.Arches() {
			names = append(names, a.OCI())
		}
		return names
	})
	hostArches = sync.OnceValue(func() []string {
		var names []string
		for _, a := range syscalls.Arches() {
			names = append(names, a.String())
		}
		return names
	})
)

func keys(m map[string]func(*node)) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// didYouMean is a hint that names the word of a set that is nearest to what was
// written, or lists a small set.
func didYouMean(word string, set []string) string {
	if near := spelling.Nearest(word, set); near != "" {
		return "did you mean " + near + "?"
	}
	if len(set) <= 12 {
		return "there are " + strings.Join(set, ", ")
	}
	return ""
}
