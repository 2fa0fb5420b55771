package seccomp

import (
	"errors"
	"fmt"
	"slices"
)

// ErrYAML is the error of [Remove] for a file in YAML: only JSON is changed in place.
// [Profile.Edit] converts the file to JSON.
var ErrYAML = errors.New("only JSON can be fixed")

// Remove returns a file without the rules, names and members of objects that start at some
// positions, which [Parse] has returned for the same text. A rule that is left without
// names is removed too. The rest stays the same, byte for byte.
func Remove(file string, source []byte, places []Position) ([]byte, error) {
	d, err := readDocument(file, source)
	if err != nil {
		return nil, err
	}
	if d.yaml {
		return nil, fmt.Errorf("%s: %w", file, ErrYAML)
	}
	r := remover{source: source, removed: map[int]bool{}}
	lines := newLines(file, source)
	for _, p := range places {
		if p.Line < 1 || p.Line > len(lines.starts) {
			return nil, fmt.Errorf("remove: %s is outside of the file", p)
		}
		r.removed[lines.starts[p.Line-1]+p.Column-1] = true
	}
	text, changed := r.value(d.body)
	if !changed {
		return nil, fmt.Errorf("remove: nothing of %s starts at the positions", file)
	}
	return slices.Concat(source[:d.body.offset], text, source[d.body.end:]), nil
}

// remover removes parts of a source.
type remover struct {
	source  []byte
	removed map[int]bool // the offsets of the parts to remove
}

// value returns the text of a value without the removed parts, and whether it had any.
func (r *remover) value(n *node) (text []byte, changed bool) {
	var kept []element
	add := func(i, begin int, value *node) {
		if r.removed[begin] || r.empty(value) {
			changed = true
			return
		}
		text, changedInside := r.value(value)
		changed = changed || changedInside
		kept = append(kept, element{n.separator(r.source, i), append(slices.Clone(r.source[begin:value.offset]), text...)})
	}
	for i, item := range n.items {
		add(i, item.offset, item)
	}
	for i, member := range n.fields {
		add(i, member.name.offset, member.value)
	}
	if !changed {
		return r.source[n.offset:n.end], false
	}
	return splice(r.source[:n.end], n, kept)[n.offset:], true
}

// empty reports whether a rule is left without names.
func (r *remover) empty(rule *node) bool {
	if name := rule.member("name"); name != nil {
		return r.removed[name.offset]
	}
	names := rule.member("names")
	return names != nil && len(names.items) > 0 && !slices.ContainsFunc(names.items, func(n *node) bool { return !r.removed[n.offset] })
}
