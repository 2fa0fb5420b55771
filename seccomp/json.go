package seccomp

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// node is a JSON value and where it stands.
type node struct {
	kind   jsontext.Kind // one of n f t " 0 { [
	offset int           // of its first byte
	end    int           // behind its last byte
	text   string        // of a string its value, of a number its literal
	fields []field
	items  []*node
}

// field is a member of an object.
type field struct {
	name  *node
	value *node
}

// syntaxError is where data stops to be JSON.
type syntaxError struct {
	offset int
	err    error
}

func (e *syntaxError) Error() string { return e.err.Error() }

// parseJSON reads one value, which is all of data. It keeps duplicate keys.
func parseJSON(data []byte) (*node, error) {
	r := &jsonReader{data: data, dec: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))}
	root, err := r.value()
	if err != nil {
		return nil, err
	}
	rest := r.skipped(int(r.dec.InputOffset()))
	if rest < len(data) {
		return nil, &syntaxError{rest, errors.New("more text after the profile")}
	}
	return root, nil
}

type jsonReader struct {
	data []byte
	dec  *jsontext.Decoder
}

// skipped is the offset of the next token: the decoder tells only where the
// last one ended.
func (r *jsonReader) skipped(offset int) int {
	for ; offset < len(r.data); offset++ {
		switch r.data[offset] {
		case ' ', '\t', '\r', '\n', ',', ':':
		default:
			return offset
		}
	}
	return offset
}

func (r *jsonReader) token() (*node, error) {
	n := &node{offset: r.skipped(int(r.dec.InputOffset()))}
	t, err := r.dec.ReadToken()
	if err != nil {
		offset := n.offset
		var syntactic *jsontext.SyntacticError
		if errors.As(err, &syntactic) {
			offset, err = int(syntactic.ByteOffset), syntactic.Err
		}
		return nil, &syntaxError{min(offset, len(r.data)), err}
	}
	n.kind, n.end = t.Kind(), int(r.dec.InputOffset())
	if n.kind == '"' || n.kind == '0' {
		n.text = t.String()
	}
	return n, nil
}

func (r *jsonReader) value() (*node, error) {
	n, err := r.token()
	if err != nil {
		return nil, err
	}
	switch n.kind {
	case '{':
		for r.dec.PeekKind() != '}' {
			name, err := r.token()
			if err != nil {
				return nil, err
			}
			value, err := r.value()
			if err != nil {
				return nil, err
			}
			n.fields = append(n.fields, field{name, value})
		}
		_, err = r.token()
	case '[':
		for r.dec.PeekKind() != ']' {
			item, err := r.value()
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		_, err = r.token()
	}
	n.end = int(r.dec.InputOffset())
	return n, err
}

// member is the value of an object's key, or nil.
func (n *node) member(key string) *node {
	for _, f := range n.fields {
		if f.name.text == key {
			return f.value
		}
	}
	return nil
}
