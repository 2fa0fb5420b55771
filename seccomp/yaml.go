package seccomp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml/ast"
	yaml "github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxNodes is how many values a YAML file may have. Aliased values count each time.
const maxNodes = 100_000

// parseYAML reads the documents of a file; without any it returns an error. It keeps
// duplicate keys. An alias is a copy of its anchor's value, with the positions of that.
func parseYAML(l *lines, data []byte) ([]*node, *syntaxError) {
	file, err := yaml.ParseBytes(data, 0, yaml.AllowDuplicateMapKey())
	if err != nil {
		return nil, yamlError(l, err)
	}
	r := &yamlReader{lines: l}
	var roots []*node
	for _, doc := range file.Docs {
		r.anchors = map[string]ast.Node{}
		root, err := r.value(doc.Body, 0)
		if err != nil {
			return nil, err
		}
		if root.kind != 'n' {
			roots = append(roots, root)
		}
	}
	if len(roots) == 0 {
		return nil, &syntaxError{0, errors.New("there is no document in it")}
	}
	return roots, nil
}

// yamlError converts the library's error to one with its offset.
func yamlError(l *lines, err error) *syntaxError {
	var at interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &at) && at.GetToken() != nil {
		return &syntaxError{l.offset(at.GetToken()), errors.New(at.GetMessage())}
	}
	return &syntaxError{0, err}
}

// offset returns the offset of a token in bytes. The library counts characters.
func (l *lines) offset(t *token.Token) int {
	line := min(max(t.Position.Line, 1), len(l.starts))
	begin, end := l.starts[line-1], len(l.data)
	if line < len(l.starts) {
		end = l.starts[line]
	}
	text := bytes.TrimRight(l.data[begin:end], "\r\n")
	characters, ok := l.characters[line]
	if !ok { // computed once a line: a file can have all its tokens in one
		for i := range string(text) {
			characters = append(characters, i)
		}
		if l.characters == nil {
			l.characters = map[int][]int{}
		}
		l.characters[line] = characters
	}
	if column := t.Position.Column; column >= 1 && column <= len(characters) {
		return begin + characters[column-1]
	}
	return begin + len(text)
}

type yamlReader struct {
	lines   *lines
	anchors map[string]ast.Node // the document's, so far
	nodes   int
}

func (r *yamlReader) fail(t *token.Token, format string, args ...any) (*node, *syntaxError) {
	return nil, &syntaxError{r.lines.offset(t), fmt.Errorf(format, args...)}
}

func (r *yamlReader) value(n ast.Node, depth int) (*node, *syntaxError) {
	if n == nil { // an empty document
		return &node{kind: 'n'}, nil
	}
	r.nodes++
	switch {
	case r.nodes > maxNodes:
		return r.fail(n.GetToken(), "more values than the limit of %d", maxNodes)
	case depth > maxDepth:
		return r.fail(n.GetToken(), "%w", errDepth())
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return r.mapping(n, n.Values, depth)
	case *ast.MappingValueNode:
		return r.mapping(n, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		list := r.node(n, '[', "")
		for _, item := range n.Values {
			value, err := r.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			list.items = append(list.items, value)
		}
		return list, nil
	case *ast.AnchorNode:
		value, err := r.value(n.Value, depth+1)
		r.anchors[n.Name.GetToken().Value] = n.Value // not before: an anchor does not contain itself
		return value, err
	case *ast.AliasNode:
		name := n.Value.GetToken()
		anchor, ok := r.anchors[name.Value]
		if !ok {
			return r.fail(name, "there is no anchor %q before it", name.Value)
		}
		return r.value(anchor, depth+1)
	}
	return r.scalar(n)
}

func (r *yamlReader) node(n ast.Node, kind jsontext.Kind, text string) *node {
	return &node{kind: kind, offset: r.lines.offset(n.GetToken()), text: text}
}

func (r *yamlReader) mapping(n ast.Node, values []*ast.MappingValueNode, depth int) (*node, *syntaxError) {
	object := r.node(n, '{', "")
	for i, v := range values {
		key, err := r.scalar(v.Key)
		if err != nil {
			return nil, err
		}
		if key.kind != '"' {
			return r.fail(v.Key.GetToken(), "a key must be a string")
		}
		value, err := r.value(v.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if i == 0 && key.offset < object.offset {
			object.offset = key.offset // the token of a block mapping is its first colon
		}
		object.fields = append(object.fields, field{key, value})
	}
	return object, nil
}

func (r *yamlReader) scalar(n ast.Node) (*node, *syntaxError) {
	switch n := n.(type) {
	case *ast.StringNode:
		return r.node(n, '"', n.Value), nil
	case *ast.LiteralNode:
		return r.node(n, '"', n.Value.Value), nil
	case *ast.IntegerNode:
		return r.node(n, '0', fmt.Sprint(n.Value)), nil
	case *ast.FloatNode:
		return r.node(n, '0', strconv.FormatFloat(n.Value, 'g', -1, 64)), nil
	case *ast.BoolNode:
		if n.Value {
			return r.node(n, 't', ""), nil
		}
		return r.node(n, 'f', ""), nil
	case *ast.NullNode:
		return r.node(n, 'n', ""), nil
	case *ast.InfinityNode, *ast.NanNode:
		return r.node(n, '"', n.GetToken().Value), nil // JSON has no such number
	}
	return r.fail(n.GetToken(), "%s: not supported in a profile", strings.ToLower(n.Type().String()))
}
