package seccomp

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/internal/spelling"
	"github.com/minirun/minirun/seccomp/internal/actions"
	"github.com/minirun/minirun/seccomp/internal/keyword"
)

// Parse reads a profile: a file as Docker and Podman read it, the linux.seccomp of a
// bundle's config.json, or a SeccompProfile of Kubernetes' security profiles operator in
// YAML or JSON. The content of data decides which of them it is; file is used only in
// positions.
//
// Parse is strict: an unknown key is an error, although Docker ignores it silently, since it
// may have been meant to restrict something. The error is a [Problems] with all problems of
// the file; a file that is not JSON has one, since the rest cannot be read. data may be
// untrusted; more than [MaxSize] bytes are an error. It must not be changed afterwards.
func Parse(file string, data []byte) (*Profile, error) {
	p := newParser(file, data)
	if d := p.document(data); d != nil {
		p.form = d.form
		p.readProfile(d.body)
	}
	if len(p.problems) > 0 {
		p.problems.sort()
		return nil, p.problems
	}
	return p.profile, nil
}

type parser struct {
	form     form
	lines    *lines
	profile  *Profile
	problems Problems
}

func newParser(file string, data []byte) *parser {
	return &parser{lines: newLines(file, data), profile: &Profile{File: file, Source: data}}
}

func (p *parser) complain(n *node, fix, format string, args ...any) {
	p.problems = append(p.problems, &Problem{Pos: p.lines.at(n.offset), Message: fmt.Sprintf(format, args...), Fix: fix})
}

// complainOf adds a problem whose fix the caller of [Parse] derives from the cause.
func (p *parser) complainOf(cause Cause, n *node, format string, args ...any) {
	p.problems = append(p.problems, &Problem{Pos: p.lines.at(n.offset), Message: fmt.Sprintf(format, args...), Cause: cause})
}

// object calls the function of read for each key of an object. Unknown and duplicate keys are
// problems. It returns the keys of the object, a misspelt one also as the known key that it
// resembles: that key is not missing. It returns nil if n is no object, which is a problem,
// except for null.
func (p *parser) object(n *node, what string, read map[string]func(*node)) map[string]bool {
	if n.kind == 'n' {
		return nil
	}
	if n.kind != '{' {
		p.complain(n, "", "%s must be an object", what)
		return nil
	}
	seen := map[string]bool{}
	var meant []string
	for _, f := range n.fields {
		key := p.key(f.name, read)
		switch {
		case seen[key]:
			p.complain(f.name, "remove one of the two", "duplicate key %q", key)
		case read[key] == nil:
			meant = append(meant, p.unknown(f, what, slices.Sorted(maps.Keys(read))))
		case p.form != dockerForm && slices.Contains(dockerKeys, key):
			p.complainOf(CauseDockerKey, f.name, "%q in %s: a runtime overlooks it, only Docker's format has it", key, what)
		default:
			read[key](f.value)
		}
		seen[key] = true
	}
	for _, key := range meant { // not before: a misspelt key and the right one are no duplicates
		seen[key] = true
	}
	return seen
}

// key returns the known key that a name matches in another case, with a warning, since
// Docker reads it (encoding/json ignores case). It returns other names as they are.
func (p *parser) key(name *node, read map[string]func(*node)) string {
	key := name.text
	if read[key] != nil || p.form != dockerForm {
		return key
	}
	for known := range read {
		if strings.EqualFold(known, key) {
			p.warn(name, "key-case", "write "+known, "key %q is %s to Docker; other readers pass over it", key, known)
			return known
		}
	}
	return key
}

// unknown ignores a key that is clearly a note, with a warning. Every other unknown key is a
// problem: its author may have meant it to restrict something. It returns the known key that
// a misspelt one resembles, or "".
func (p *parser) unknown(f field, what string, known []string) string {
	key := f.name.text
	near := spelling.Nearest(key, known)
	note := strings.HasPrefix(key, "_")
	if text := f.value; text.kind == '"' && !strings.HasPrefix(text.text, "SCMP_") && !strings.HasPrefix(text.text, "SECCOMP_") {
		note = note || near == "" && (what == theProfile || slices.Contains(noteKeys, key))
	}
	if note {
		p.warn(f.name, "unknown-key", "remove it, or begin comments with _", "key %q in %s is a note: it has no effect", key, what)
		return ""
	}
	p.complain(f.name, keyword.Suggest(key, known), "unknown key %q in %s", key, what)
	return near
}

func (p *parser) warn(n *node, id, fix, format string, args ...any) {
	p.profile.Remarks = append(p.profile.Remarks, &Remark{Problem{Pos: p.lines.at(n.offset), Message: fmt.Sprintf(format, args...), Fix: fix}, id})
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

// keyword reads a string that must be one of a set.
func (p *parser) keyword(n *node, what string, set []string) Name {
	name := p.text(n, what)
	if n.kind == '"' && !slices.Contains(set, name.Value) {
		p.complain(n, keywordHint(name.Value, set), "unknown %s %q", what, name.Value)
	}
	return name
}

func (p *parser) keywords(n *node, what string, set []string) []Name {
	names := []Name{}
	p.list(n, what+" list", func(item *node) { names = append(names, p.keyword(item, what, set)) })
	return names
}

// number reads a whole number from 0 to limit.
func (p *parser) number(n *node, what string, limit uint64) uint64 {
	if n.kind != '0' {
		p.complain(n, "", "%s must be a number", what)
		return 0
	}
	v, err := strconv.ParseUint(n.text, 10, 64)
	if err != nil || v > limit {
		p.complain(n, "", "%s %s is not a whole number from 0 to %d", what, n.text, limit)
	}
	return v
}

func (p *parser) readProfile(root *node) {
	pr := p.profile
	var architectures, archMap, defaultErrno *node
	read := map[string]func(*node){
		"defaultAction": func(n *node) {
			name := p.keyword(n, "action", actionNames)
			pr.DefaultAction, pr.DefaultActionPos = specs.LinuxSeccompAction(name.Value), name.Pos
		},
		"defaultErrnoRet": func(n *node) { pr.DefaultErrnoRet = p.errno(n, "defaultErrnoRet") },
		"defaultErrno":    func(n *node) { defaultErrno = n },
		"architectures": func(n *node) {
			architectures = n
			pr.Architectures = p.keywords(n, "architecture", keyword.OCIArches())
		},
		"archMap": func(n *node) {
			archMap = n
			p.list(n, "archMap", p.readArchMap)
		},
		"flags": func(n *node) {
			if n.kind != 'n' {
				pr.Flags = p.keywords(n, "flag", filterFlags)
			}
		},
		"listenerPath":     func(n *node) { pr.ListenerPath = p.text(n, "listenerPath") },
		"listenerMetadata": func(n *node) { pr.ListenerMetadata = p.text(n, "listenerMetadata").Value },
		"syscalls":         func(n *node) { p.list(n, "syscalls", p.readRule) },
	}
	if p.form == resourceForm {
		read["baseProfileName"] = p.base
		read["state"], read["disabled"] = func(*node) {}, func(*node) {} // whether the operator installs it
	}
	keys := p.object(root, theProfile, read)
	if keys == nil {
		if root.kind == 'n' {
			p.complain(root, "", "the profile must be an object")
		}
		return
	}
	pr.DefaultErrnoRet = p.errnoByName(pr.DefaultErrnoRet, defaultErrno)
	if !keys["defaultAction"] {
		const message = "the profile has no defaultAction"
		if len(root.fields) == 0 && p.form == dockerForm {
			p.complainOf(CauseEmptyObject, root, message)
		} else {
			p.complain(root, `the key "defaultAction" is required; SCMP_ACT_ERRNO denies what no rule allows`, message)
		}
	}
	if architectures != nil && archMap != nil && len(architectures.items) > 0 && len(archMap.items) > 0 {
		p.complain(archMap, "use one of the two", "both architectures and archMap are given")
	}
}

// base refuses a resource that extends another one.
func (p *parser) base(n *node) {
	if name := p.text(n, "baseProfileName"); name.Value != "" {
		p.complain(n, "copy the rules of that profile into this one, and remove baseProfileName", "baseProfileName %q: the operator adds the rules of that profile, which are not in this file", name.Value)
	}
}

func (p *parser) readArchMap(n *node) {
	var m ArchMap
	p.object(n, "an element of archMap", map[string]func(*node){
		"architecture":     func(n *node) { m.Architecture = p.keyword(n, "architecture", keyword.OCIArches()) },
		"subArchitectures": func(n *node) { m.SubArchitectures = p.keywords(n, "architecture", keyword.OCIArches()) },
	})
	p.profile.ArchMap = append(p.profile.ArchMap, m)
}

func (p *parser) readRule(n *node) {
	r := Rule{Pos: p.lines.at(n.offset)}
	var name, names, errnoName *node
	keys := p.object(n, "a rule", map[string]func(*node){
		"names": func(n *node) {
			names = n
			p.list(n, "names", func(item *node) { r.Names = append(r.Names, p.callName(item)) })
		},
		"name": func(n *node) { name = n },
		"action": func(n *node) {
			action := p.keyword(n, "action", actionNames)
			r.Action, r.ActionPos = specs.LinuxSeccompAction(action.Value), action.Pos
		},
		"errnoRet": func(n *node) { r.ErrnoRet = p.errno(n, "errnoRet") },
		"errno":    func(n *node) { errnoName = n },
		"args":     func(n *node) { p.list(n, "args", func(item *node) { p.readArg(item, &r) }) },
		"comment":  func(n *node) { r.Comment = p.text(n, "comment").Value },
		"includes": func(n *node) { p.readFilter(n, "includes", &r.Includes) },
		"excludes": func(n *node) { p.readFilter(n, "excludes", &r.Excludes) },
	})
	if keys == nil {
		if n.kind == 'n' {
			p.complain(n, "", "a rule must be an object")
		}
		return
	}
	r.ErrnoRet = p.errnoByName(r.ErrnoRet, errnoName)
	switch {
	case name == nil, name.kind == 'n', name.kind == '"' && name.text == "":
	case name.kind == '[':
		p.complain(name, `write "names" for a list`, "name must be a string")
	default:
		if names != nil && len(names.items) > 0 {
			p.complain(name, "use names", "both name and names are given")
		}
		r.Names = append(r.Names, p.callName(name))
	}
	if !keys["names"] && !keys["name"] {
		p.complain(n, `give "names": ["CALL"]`, "the rule names no system call")
	}
	if !keys["action"] {
		p.complain(n, `give "action": "SCMP_ACT_ALLOW", for example`, "the rule has no action")
	}
	p.profile.Rules = append(p.profile.Rules, r)
}

// callName accepts any name, since a profile may name calls of future kernels. lint checks
// whether the call exists.
func (p *parser) callName(n *node) Name {
	name := p.text(n, "a system call's name")
	if n.kind == '"' && name.Value == "" {
		p.complain(n, "", "a system call's name is empty")
	}
	return name
}

func (p *parser) readArg(n *node, r *Rule) {
	a := Arg{Pos: p.lines.at(n.offset)}
	keys := p.object(n, "a condition", map[string]func(*node){
		"index":    func(n *node) { a.Index = uint(p.number(n, "argument index", 5)) },
		"value":    func(n *node) { a.Value = p.number(n, "value", 1<<64-1) },
		"valueTwo": func(n *node) { a.ValueTwo = p.number(n, "valueTwo", 1<<64-1) },
		"op":       func(n *node) { a.Op = specs.LinuxSeccompOperator(p.keyword(n, "operator", operators).Value) },
	})
	switch {
	case keys == nil && n.kind == 'n':
		p.complain(n, "", "a condition must be an object")
	case keys != nil && !keys["op"]:
		p.complain(n, `give "op": "SCMP_CMP_EQ", for example`, "the condition has no operator")
	}
	r.Args = append(r.Args, a)
}

func (p *parser) readFilter(n *node, what string, f *Filter) {
	p.object(n, what, map[string]func(*node){
		"caps":   func(n *node) { f.Caps = p.keywords(n, "capability", capname.All()) },
		"arches": func(n *node) { f.Arches = p.keywords(n, "architecture", keyword.Arches()) },
		"minKernel": func(n *node) {
			f.MinKernel = p.text(n, "minKernel")
			if _, err := ParseKernel(f.MinKernel.Value); err != nil && n.kind == '"' {
				p.complain(n, "", "minKernel: %v", err)
			}
		},
	})
}

func (p *parser) errno(n *node, what string) *uint {
	if n.kind == 'n' {
		return nil
	}
	v := uint(p.number(n, what, actions.MaxErrno))
	return &v
}

// errnoByName returns the errno of Podman's errno or defaultErrno if n has one, else number.
// A profile may have both if they mean the same.
func (p *parser) errnoByName(number *uint, n *node) *uint {
	if n == nil || n.kind == 'n' {
		return number
	}
	name := p.text(n, "an errno's name")
	if n.kind != '"' || name.Value == "" {
		return number
	}
	v, ok := keyword.Errno(name.Value)
	switch {
	case !ok:
		p.complain(n, keyword.Suggest(name.Value, keyword.Errnos()), "unknown errno %q", name.Value)
	case number != nil && *number != v:
		p.complain(n, "use one of the two", "errno %s is %d, but the number given is %d", name.Value, v, *number)
	}
	return &v
}
