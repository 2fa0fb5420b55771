package seccomp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// EditAction is what an edit does with its calls.
type EditAction string

// The edits, by the names of their flags.
const (
	Allow EditAction = "allow" // let the calls through
	Deny  EditAction = "deny"  // leave them to the default action, or refuse them where that lets calls through
	Gate  EditAction = "gate"  // let them through with a capability, deny them without
)

// Edit is a change of a profile.
type Edit struct {
	Action     EditAction
	Capability string   // CAP_ name; Gate only
	Names      []string // calls
}

// EditError is an edit that means nothing.
type EditError struct{ Text, Message, Fix string }

func (e *EditError) Error() string { return e.Text + ": " + e.Message }

// Hint says what to do, or is empty.
func (e *EditError) Hint() string { return e.Fix }

// ParseEdit reads what a flag was given: calls and @groups with commas between,
// for Gate with CAPABILITY= in front. An error is an [EditError].
func ParseEdit(action EditAction, text string) (Edit, error) {
	e := Edit{Action: action}
	names := text
	if action == Gate {
		var found bool
		e.Capability, names, found = strings.Cut(text, "=")
		if !found {
			return e, &EditError{text, "a capability is missing", "write CAPABILITY=NAMES, for example CAP_AUDIT_CONTROL=@chown"}
		}
		e.Capability = strings.ToUpper(strings.TrimSpace(e.Capability))
		if !strings.HasPrefix(e.Capability, "CAP_") { // as --cap-add takes it
			e.Capability = "CAP_" + e.Capability
		}
		if !slices.Contains(capabilities(), e.Capability) {
			return e, &EditError{text, "unknown capability " + e.Capability, didYouMean(e.Capability, capabilities())}
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

// expand gives a group's calls, or the one call.
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

// Edit changes the profile's text and gives the new one. Each call of an edit is
// first taken out of every rule that names it, and a rule that then names none
// is taken out whole; a new rule, where one is needed, goes behind the last. All
// else stays as it is, to the byte. A call in two edits is an [EditError].
//
// The verdicts of other calls stay too, but for those that are newer than all calls
// which the profile names: which these are may change, as the largest may.
func (p *Profile) Edit(edits []Edit) ([]byte, error) {
	var seen []string
	for _, e := range edits {
		for _, name := range e.Names {
			if slices.Contains(seen, name) {
				return nil, &EditError{name, "named by two edits", "say once what is to be done with it"}
			}
			seen = append(seen, name)
		}
	}
	source := p.Source
	for _, e := range edits {
		var err error
		if source, err = applyEdit(source, e, p.newRule(e)); err != nil {
			return nil, fmt.Errorf("edit %s: %w", p.File, err)
		}
	}
	if _, err := Parse(p.File, source); err != nil {
		return nil, fmt.Errorf("edit: the result is no profile: %w", err)
	}
	return source, nil
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

// newRule is the rule that an edit adds, or nil when the default action does.
func (p *Profile) newRule(e Edit) *editedRule {
	open := lets(p.DefaultAction)
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

func applyEdit(source []byte, e Edit, add *editedRule) ([]byte, error) {
	root, err := parseJSON(source)
	if err != nil {
		return nil, err
	}
	rules := root.member("syscalls")
	if rules == nil || len(rules.items) == 0 {
		return addSyscalls(source, root, rules, add)
	}
	var kept []element
	for i, rule := range rules.items {
		text, remains := withoutNames(source, rule, e.Names)
		if remains {
			kept = append(kept, element{separator(source, rules.items, i), text})
		}
	}
	if add != nil {
		text, err := add.format(source, root)
		if err != nil {
			return nil, err
		}
		kept = append(kept, element{lastSeparator(source, root, rules.items), text})
	}
	return splice(source, rules, kept), nil
}

// element is an item of a list and what stands in front of it.
type element struct{ separator, text []byte }

// splice gives the source with other items in a list.
func splice(source []byte, list *node, items []element) []byte {
	out := slices.Clone(source[:list.offset])
	if len(items) == 0 {
		return append(append(out, "[]"...), source[list.end:]...)
	}
	out = append(out, source[list.offset:list.items[0].offset]...)
	for i, item := range items {
		if i > 0 {
			out = append(out, item.separator...)
		}
		out = append(out, item.text...)
	}
	return append(out, source[list.items[len(list.items)-1].end:]...)
}

func separator(source []byte, items []*node, i int) []byte {
	if i == 0 {
		return lastSeparator(source, nil, items)
	}
	return source[items[i-1].end:items[i].offset]
}

// lastSeparator is how a list's items are set apart: as its last two are.
func lastSeparator(source []byte, root *node, items []*node) []byte {
	if n := len(items); n > 1 {
		return source[items[n-2].end:items[n-1].offset]
	}
	if root == nil || oneLine(source) {
		return []byte(", ")
	}
	return []byte(",\n" + strings.Repeat(indent(source, root), 2))
}

// withoutNames is a rule's text without some of its names; remains is false
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
			kept = append(kept, element{separator(source, list.items, i), source[n.offset:n.end]})
		}
	}
	if len(kept) == 0 {
		return nil, false
	}
	whole := splice(source[:rule.end], list, kept)
	return whole[rule.offset:], true
}

// indent is what the source sets its first key in by.
func indent(source []byte, root *node) string {
	if len(root.fields) == 0 {
		return "\t"
	}
	line := source[:root.fields[0].name.offset]
	line = line[bytes.LastIndexByte(line, '\n')+1:]
	if len(bytes.TrimSpace(line)) > 0 || len(line) == 0 {
		return "\t"
	}
	return string(line)
}

func oneLine(source []byte) bool { return !bytes.ContainsRune(bytes.TrimSpace(source), '\n') }

// format writes the rule as the source is written: in lines, or in one.
func (r *editedRule) format(source []byte, root *node) ([]byte, error) {
	if oneLine(source) {
		return json.Marshal(r)
	}
	unit := indent(source, root)
	return json.MarshalIndent(r, strings.Repeat(unit, 2), unit)
}

// addSyscalls gives a profile without rules its first one. It may have no list of
// them, or an empty one, or null.
func addSyscalls(source []byte, root, rules *node, add *editedRule) ([]byte, error) {
	if add == nil {
		return source, nil
	}
	rule, err := add.format(source, root)
	if err != nil {
		return nil, err
	}
	unit := indent(source, root)
	list, separator := fmt.Sprintf("[\n%[1]s%[1]s%[2]s\n%[1]s]", unit, rule), ",\n"+unit
	if oneLine(source) {
		list, separator = "["+string(rule)+"]", ", "
	}
	begin, end := 0, 0
	if rules != nil {
		begin, end = rules.offset, rules.end
	} else {
		begin = root.fields[len(root.fields)-1].value.end // a profile has a defaultAction at least
		end, list = begin, separator+`"syscalls": `+list
	}
	return slices.Concat(source[:begin], []byte(list), source[end:]), nil
}
