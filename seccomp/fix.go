package seccomp

import (
	"fmt"
	"slices"
)

// FixFindings applies the safe remedies, which change no verdict: rules, names and
// keys without effect go. All else stays to the byte. What is no profile, or is
// written in YAML, has no safe remedy; the second is an error where there is
// something to be mended.
func FixFindings(source []byte, findings []Finding) ([]byte, int, error) {
	if !slices.ContainsFunc(findings, func(f Finding) bool { return f.drop }) {
		return source, 0, nil
	}
	file := findings[0].Pos.File
	d, err := readDocument(file, source)
	if err != nil {
		return source, 0, err
	}
	if d.yaml {
		return source, 0, &EditError{file, "only JSON can be mended", "make JSON of it by 'minirun seccomp edit --base " + shellWord(file) + "'"}
	}
	f := fixer{source: source, goes: map[int]bool{}}
	lines := newLines(file, source)
	for _, finding := range findings {
		if finding.drop {
			f.goes[lines.starts[finding.Pos.Line-1]+finding.Pos.Column-1] = true
		}
	}
	fixed := len(f.goes)
	text, changed := f.value(d.body)
	if !changed {
		return source, 0, fmt.Errorf("fix %s: the findings are not of this file", file)
	}
	return slices.Concat(source[:d.body.offset], text, source[d.body.end:]), fixed, nil
}

// fixer takes parts out of a source.
type fixer struct {
	source []byte
	goes   map[int]bool // what begins at these offsets
}

// value is the text of a value without the parts that go, and whether any did.
func (f *fixer) value(n *node) (text []byte, changed bool) {
	var kept []element
	add := func(i, begin int, value *node) {
		if f.goes[begin] || f.empty(value) {
			changed = true
			return
		}
		text, changedInside := f.value(value)
		changed = changed || changedInside
		kept = append(kept, element{n.separator(f.source, i), append(slices.Clone(f.source[begin:value.offset]), text...)})
	}
	for i, item := range n.items {
		add(i, item.offset, item)
	}
	for i, member := range n.fields {
		add(i, member.name.offset, member.value)
	}
	if !changed {
		return f.source[n.offset:n.end], false
	}
	return splice(f.source[:n.end], n, kept)[n.offset:], true
}

// empty reports whether a rule names no call any more.
func (f *fixer) empty(rule *node) bool {
	if name := rule.member("name"); name != nil {
		return f.goes[name.offset]
	}
	names := rule.member("names")
	return names != nil && len(names.items) > 0 && !slices.ContainsFunc(names.items, func(n *node) bool { return !f.goes[n.offset] })
}
