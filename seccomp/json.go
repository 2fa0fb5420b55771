package seccomp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// node is a JSON value and its position.
type node struct {
	kind   jsontext.Kind // one of n f t " 0 { [
	offset int           // of its first byte
	end    int           // after its last byte
	text   string        // the value of a string, the literal of a number
	fields []field
	items  []*node
}

// field is a member of an object.
type field struct {
	name  *node
	value *node
}

// syntaxError says where data is not JSON, or not YAML.
type syntaxError struct {
	offset int
	err    error
}

func (e *syntaxError) Error() string { return e.err.Error() }

// maxDepth is how deep objects and lists may be nested in each other. Docker's
// format has six levels, a bundle's configuration eight.
const maxDepth = 100

func errDepth() error { return fmt.Errorf("nested deeper than the limit of %d levels", maxDepth) }

// parseJSON reads data as one value. It keeps duplicate keys.
func parseJSON(data []byte) (*node, *syntaxError) {
	r := &jsonReader{data: data, dec: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))}
	root, err := r.value(0)
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

// skipped returns the offset of the next token at or after an offset. The decoder knows only
// where the last token ended.
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

func (r *jsonReader) token() (*node, *syntaxError) {
	n := &node{offset: r.skipped(int(r.dec.InputOffset()))}
	t, err := r.dec.ReadToken()
	if err != nil {
		offset := n.offset
		var syntactic *jsontext.SyntacticError
		if errors.As(err, &syntactic) {
			offset, err = int(syntactic.ByteOffset), syntactic.Err
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early")
		}
		return nil, &syntaxError{min(offset, len(r.data)), err}
	}
	n.kind, n.end = t.Kind(), int(r.dec.InputOffset())
	if n.kind == '"' || n.kind == '0' {
		n.text = t.String()
	}
	return n, nil
}

func (r *jsonReader) value(depth int) (*node, *syntaxError) {
	n, err := r.token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, &syntaxError{n.offset, errDepth()}
	}
	switch n.kind {
	case '{':
		for r.dec.PeekKind() != '}' {
			name, err := r.token()
			if err != nil {
				return nil, err
			}
			value, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.fields = append(n.fields, field{name, value})
		}
		_, err = r.token()
	case '[':
		for r.dec.PeekKind() != ']' {
			item, err := r.value(depth + 1)
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

// has reports whether an object has a key.
func (n *node) has(key string) bool { return n.member(key) != nil }

// member returns the value of an object's key, or of the same key in another case, or
// nil.
func (n *node) member(key string) *node {
	if n == nil {
		return nil
	}
	i := slices.IndexFunc(n.fields, func(f field) bool { return f.name.text == key })
	if i < 0 {
		i = slices.IndexFunc(n.fields, func(f field) bool { return strings.EqualFold(f.name.text, key) })
	}
	if i < 0 {
		return nil
	}
	return n.fields[i].value
}

// stringMember returns the value of an object's key if it is a string, or "".
func (n *node) stringMember(key string) string {
	if value := n.member(key); value != nil && value.kind == '"' {
		return value.text
	}
	return ""
}

// appendJSON writes the value as JSON, without space.
func (n *node) appendJSON(out []byte) []byte {
	switch n.kind {
	case '{':
		for i, f := range n.fields {
			out = append(out, "{,"[min(i, 1)])
			out = append(f.name.appendJSON(out), ':')
			out = f.value.appendJSON(out)
		}
		if len(n.fields) == 0 {
			out = append(out, '{')
		}
		return append(out, '}')
	case '[':
		for i, item := range n.items {
			out = item.appendJSON(append(out, "[,"[min(i, 1)]))
		}
		if len(n.items) == 0 {
			out = append(out, '[')
		}
		return append(out, ']')
	case '"':
		out, _ = jsontext.AppendQuote(out, n.text) // invalid UTF-8 is replaced
		return out
	case '0':
		return append(out, n.text...)
	case 't':
		return append(out, "true"...)
	case 'f':
		return append(out, "false"...)
	}
	return append(out, "null"...)
}
