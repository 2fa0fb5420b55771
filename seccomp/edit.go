package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/seccomp/internal/actions"
	"github.com/minirun/minirun/seccomp/internal/keyword"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// EditAction says what an edit does with its calls.
type EditAction string

// The actions, by the names of the flags for them.
const (
	Allow EditAction = "allow" // let the calls through
	Deny  EditAction = "deny"  // leave the calls to the default action; if that lets them through, refuse them
	Gate  EditAction = "gate"  // let the calls through with a capability, deny them without
)

// Edit is a change of a profile.
type Edit struct {
	Action     EditAction
	Capability string   // CAP_ name; Gate only
	Names      []string // calls
}

// EditError reports an edit that is not possible. Fix is what to do, or "".
type EditError struct{ Text, Message, Fix string }

// ErrFlatGate reports a gate for a profile that is a flat list of rules. [Allow] and
// [Deny] can edit it.
var ErrFlatGate = errors.New("a gate needs a profile of Docker's format: a runtime is given a flat list")

func (e *EditError) Error() string { return e.Text + ": " + e.Message }

// ParseEdit reads an edit as people write it: calls and @groups separated by commas, for
// Gate after CAPABILITY=. The error is an [*EditError].
func ParseEdit(action EditAction, text string) (Edit, error) {
	e := Edit{Action: action}
	names := text
	if action == Gate {
		var found bool
		e.Capability, names, found = strings.Cut(text, "=")
		if !found {
			return e, &EditError{fmt.Sprintf("%q", text), "a capability is missing", "write CAPABILITY=NAMES, for example CAP_AUDIT_CONTROL=@chown"}
		}
		e.Capability = capname.Full(strings.TrimSpace(e.Capability))
		if !slices.Contains(capname.All(), e.Capability) {
			return e, &EditError{text, "unknown capability " + e.Capability, keyword.Suggest(e.Capability, capname.All())}
		}
	}
	for _, name := range strings.Split(names, ",") {
		calls, err := expand(strings.TrimSpace(name))
		if err != nil {
			return e, err
		}
		for _, c := range calls {
			if !slices.Contains(e.Names, c) {
				e.Names = append(e.Names, c)
			}
		}
	}
	return e, nil
}

// expand returns the calls of a group, or the one call.
func expand(name string) ([]string, error) {
	if calls, ok := syscalls.Group(name); ok {
		return calls, nil
	}
	if syscalls.Known(name) {
		return []string{name}, nil
	}
	hint := ""
	if near := syscalls.Suggest(name); near != "" {
		hint = "did you mean " + near + "?"
	} else if strings.HasPrefix(name, "@") {
		hint = "there are " + strings.Join(syscalls.Groups(), ", ")
	}
	return nil, &EditError{fmt.Sprintf("%q", name), "no such system call or group", hint}
}

// Edit returns the profile's text with some changes. Each call of an edit is first removed
// from every rule that names it; a rule that is left without names is removed too. Then a
// new rule is added at the end, if one is needed. The rest of the text stays the same, byte
// for byte, except that a resource in YAML becomes one in JSON. A call in two edits is an
// [*EditError].
//
// The verdicts on other calls stay the same, except for calls that are newer than every call
// the profile names: an edit can change which calls these are.
func (p *Profile) Edit(edits []Edit) ([]byte, error) {
	var seen []string
	for _, e := range edits {
		for _, name := range e.Names {
			if slices.Contains(seen, name) {
				return nil, &EditError{name, "named by two edits", "name it in one edit"}
			}
			seen = append(seen, name)
		}
	}
	source, err := p.asJSON()
	for _, e := range edits {
		if err == nil {
			source, err = p.applyEdit(source, e)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := Parse(p.File, source); err != nil {
		return nil, fmt.Errorf("edit: the result is no profile: %w", err)
	}
	return source, nil
}

// asJSON returns the profile's text, converted to JSON for a resource in YAML.
func (p *Profile) asJSON() ([]byte, error) {
	d, err := readDocument(p.File, p.Source)
	if err != nil || !d.yaml {
		return p.Source, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, d.root.appendJSON(nil), "", "\t"); err != nil {
		return nil, fmt.Errorf("%s: write as JSON: %w", p.File, err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// editedRule is a rule in the order in which Docker's profile writes the fields.
type editedRule struct {
	Names    []string                 `json:"names"`
	Action   specs.LinuxSeccompAction `json:"action"`
	Includes *editedFilter            `json:"includes,omitempty"`
	Excludes *editedFilter            `json:"excludes,omitempty"`
}

type editedFilter struct {
	Caps []string `json:"caps"`
}

// newRule returns the rule that an edit adds, or nil when the default action suffices.
func (p *Profile) newRule(e Edit) *editedRule {
	open := actions.Open(p.DefaultAction)
	switch {
	case e.Action == Allow && p.DefaultAction != specs.ActAllow:
		return &editedRule{Names: e.Names, Action: specs.ActAllow}
	case e.Action == Deny && open:
		return &editedRule{Names: e.Names, Action: specs.ActErrno}
	case e.Action == Gate && open:
		return &editedRule{Names: e.Names, Action: specs.ActErrno, Excludes: &editedFilter{[]string{e.Capability}}}
	case e.Action == Gate:
		return &editedRule{Names: e.Names, Action: specs.ActAllow, Includes: &editedFilter{[]string{e.Capability}}}
	}
	return nil
}

func (p *Profile) applyEdit(source []byte, e Edit) ([]byte, error) {
	d, err := readDocument(p.File, source)
	if err != nil {
		return nil, err
	}
	if e.Action == Gate && d.form != dockerForm {
		return nil, fmt.Errorf("%s: %w", p.File, ErrFlatGate)
	}
	add := p.newRule(e)
	rules := d.body.member("syscalls")
	if rules == nil || len(rules.items) == 0 {
		return addSyscalls(source, d, rules, add)
	}
	var kept []element
	for i, rule := range rules.items {
		text, remains := withoutNames(source, rule, e.Names)
		if remains {
			kept = append(kept, element{rules.separator(source, i), text})
		}
	}
	if add != nil {
		l := layoutOf(source, d)
		text, err := add.format(l)
		if err != nil {
			return nil, err
		}
		kept = append(kept, element{l.lastSeparator(source, rules), text})
	}
	return splice(source, rules, kept), nil
}

// element is a part of a list or object and the text between it and the one before.
type element struct{ separator, text []byte }

// span is where a part of a list or object is.
type span struct{ begin, end int }

// parts returns the items of a list, or the members of an object.
func (n *node) parts() []span {
	var all []span
	for _, item := range n.items {
		all = append(all, span{item.offset, item.end})
	}
	for _, f := range n.fields {
		all = append(all, span{f.name.offset, f.value.end})
	}
	return all
}

// splice returns the source with other parts in a list or object that is not empty.
func splice(source []byte, n *node, kept []element) []byte {
	out := slices.Clone(source[:n.offset+1])
	parts := n.parts()
	if len(kept) == 0 {
		return append(out, source[n.end-1:]...)
	}
	out = append(out, source[n.offset+1:parts[0].begin]...)
	for i, part := range kept {
		if i > 0 {
			out = append(out, part.separator...)
		}
		out = append(out, part.text...)
	}
	return append(out, source[parts[len(parts)-1].end:]...)
}

// separator returns the text before a part; for the first, that before the last.
func (n *node) separator(source []byte, i int) []byte {
	parts := n.parts()
	if i == 0 {
		i = len(parts) - 1
	}
	if i == 0 {
		return []byte(", ")
	}
	return source[parts[i-1].end:parts[i].begin]
}

// layout is how a source is written.
type layout struct {
	oneLine bool
	unit    string // the indentation of a level
	keys    string // the indentation of the profile's keys
}

func layoutOf(source []byte, d *document) layout {
	return layout{oneLine: !bytes.ContainsRune(bytes.TrimSpace(source), '\n'), unit: indent(source, d.root), keys: indent(source, d.body)}
}

// lastSeparator returns the text between the last two items of a list.
func (l layout) lastSeparator(source []byte, list *node) []byte {
	if n := len(list.items); n > 1 {
		return list.separator(source, n-1)
	}
	if l.oneLine {
		return []byte(", ")
	}
	return []byte(",\n" + l.keys + l.unit)
}

// withoutNames returns a rule's text without some of its names; remains is false
// when it has no other.
func withoutNames(source []byte, rule *node, names []string) (text []byte, remains bool) {
	text = source[rule.offset:rule.end]
	if name := rule.member("name"); name != nil && slices.Contains(names, name.text) {
		return nil, false
	}
	list := rule.member("names")
	if list == nil || !slices.ContainsFunc(list.items, func(n *node) bool { return slices.Contains(names, n.text) }) {
		return text, true
	}
	var kept []element
	for i, n := range list.items {
		if !slices.Contains(names, n.text) {
			kept = append(kept, element{list.separator(source, i), source[n.offset:n.end]})
		}
	}
	if len(kept) == 0 {
		return nil, false
	}
	whole := splice(source[:rule.end], list, kept)
	return whole[rule.offset:], true
}

// indent returns the indentation of an object's first key.
func indent(source []byte, object *node) string {
	if len(object.fields) == 0 {
		return "\t"
	}
	line := source[:object.fields[0].name.offset]
	line = line[bytes.LastIndexByte(line, '\n')+1:]
	if len(bytes.TrimSpace(line)) > 0 || len(line) == 0 {
		return "\t"
	}
	return string(line)
}

// format writes the rule in the layout of the source: in lines, or in one.
func (r *editedRule) format(l layout) ([]byte, error) {
	if l.oneLine {
		return json.Marshal(r)
	}
	return json.MarshalIndent(r, l.keys+l.unit, l.unit)
}

// addSyscalls adds the first rule to a profile, whose list of rules may be missing,
// empty or null.
func addSyscalls(source []byte, d *document, rules *node, add *editedRule) ([]byte, error) {
	if add == nil {
		return source, nil
	}
	l := layoutOf(source, d)
	rule, err := add.format(l)
	if err != nil {
		return nil, err
	}
	list, separator := fmt.Sprintf("[\n%[1]s%[2]s%[3]s\n%[1]s]", l.keys, l.unit, rule), ",\n"+l.keys
	if l.oneLine {
		list, separator = "["+string(rule)+"]", ", "
	}
	begin, end := 0, 0
	if rules != nil {
		begin, end = rules.offset, rules.end
	} else {
		begin = d.body.fields[len(d.body.fields)-1].value.end // a profile has at least a defaultAction
		end, list = begin, separator+`"syscalls": `+list
	}
	return slices.Concat(source[:begin], []byte(list), source[end:]), nil
}
