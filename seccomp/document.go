package seccomp

import (
	"fmt"
	"slices"
	"strings"
)

// form is the format that a profile is written in.
type form int

const (
	dockerForm   form = iota // a separate file, as Docker and Podman read it
	bundleForm               // linux.seccomp of a config.json (OCI runtime specification, config-linux.md)
	resourceForm             // the spec of a SeccompProfile of Kubernetes' security profiles operator
)

// MaxSize is the largest file that is read as a profile, in bytes: ten times the
// largest known one, and small enough for lint to finish in seconds.
const MaxSize = 384 << 10

// theProfile names the object that is the profile, in messages.
const theProfile = "the profile"

// document is a file that contains a profile.
type document struct {
	form form
	root *node // the file, or the part of a YAML file that is the resource
	body *node // the profile
	yaml bool
}

// readDocument finds the profile in a file, as [Parse] does. The error is [Problems].
func readDocument(file string, data []byte) (*document, error) {
	p := newParser(file, data)
	if d := p.document(data); d != nil && len(p.problems) == 0 {
		return d, nil
	}
	return nil, p.problems
}

// document finds the profile in a file. If there is none it adds a problem and returns nil.
func (p *parser) document(data []byte) *document {
	switch {
	case len(data) > MaxSize:
		p.complain(&node{}, "", "the file is larger than the limit of %d bytes", MaxSize)
		return nil
	case strings.TrimSpace(string(data)) == "":
		p.complainOf(CauseEmpty, &node{}, "the profile is empty")
		return nil
	case isYAML(data):
		roots, err := parseYAML(p.lines, data)
		if err != nil {
			p.complain(&node{offset: err.offset}, "", "not YAML: %v", err)
			return nil
		}
		return p.resource(roots, true)
	}
	root, err := parseJSON(data)
	if err != nil {
		p.complain(&node{offset: err.offset}, jsonHint(data), "not JSON: %v", err)
		return nil
	}
	switch {
	case root.has("apiVersion") && root.has("kind"):
		return p.resource([]*node{root}, false)
	case root.has("ociVersion"), root.has("linux") && !root.has("defaultAction"):
		return p.bundle(root)
	}
	return &document{form: dockerForm, root: root, body: root}
}

// isYAML reports whether a file is the manifest of a Kubernetes resource in YAML:
// some line starts with one of the two keys that every resource has.
func isYAML(data []byte) bool {
	return !strings.HasPrefix(strings.TrimSpace(string(data)), "{") && (hasLine(data, "apiVersion:") || hasLine(data, "kind:"))
}

func hasLine(data []byte, prefix string) bool {
	return strings.HasPrefix(string(data), prefix) || strings.Contains(string(data), "\n"+prefix)
}

func jsonHint(data []byte) string {
	if hasLine(data, "defaultAction:") {
		return "of YAML only a SeccompProfile of Kubernetes is read, with its apiVersion and kind"
	}
	return ""
}

// bundle returns the profile of a config.json.
func (p *parser) bundle(root *node) *document {
	linux := p.unique(root, "linux")
	seccomp := p.unique(linux, "seccomp")
	if seccomp == nil || seccomp.kind == 'n' {
		p.complainOf(CauseNoFilter, root, "the configuration has no linux.seccomp: its container has no filter")
		return nil
	}
	return &document{form: bundleForm, root: root, body: seccomp}
}

// unique returns the value of a key, or nil. A duplicate key is a problem, since readers
// differ in which of the two counts.
func (p *parser) unique(n *node, key string) *node {
	if n == nil {
		return nil
	}
	value := n.member(key)
	for _, f := range n.fields {
		if strings.EqualFold(f.name.text, key) && f.value != value {
			p.complain(f.name, "remove one of the two", "duplicate key %q", f.name.text)
		}
	}
	return value
}

// operator is the API group of the security profiles operator.
const operator = "security-profiles-operator.x-k8s.io/"

// resource returns the only SeccompProfile among some resources.
func (p *parser) resource(roots []*node, yaml bool) *document {
	var found []*node
	var kinds, names []string
	for _, root := range resources(roots) {
		kind := root.stringMember("kind")
		kinds = append(kinds, fmt.Sprintf("%q", kind))
		if kind == "SeccompProfile" && strings.HasPrefix(root.stringMember("apiVersion"), operator) {
			found = append(found, root)
			names = append(names, fmt.Sprintf("%q", root.member("metadata").stringMember("name")))
		}
	}
	switch {
	case len(found) == 0:
		p.complain(roots[0], "its apiVersion is "+operator+"v1 or v1beta1", "the file has no SeccompProfile, only %s", strings.Join(slices.Compact(kinds), ", "))
		return nil
	case len(found) > 1:
		p.complain(found[1], "put the one that is meant in a file of its own", "the file has %d SeccompProfiles: %s", len(found), strings.Join(names, ", "))
		return nil
	}
	spec := p.unique(found[0], "spec")
	if spec == nil {
		p.complain(found[0], "", "the SeccompProfile has no spec")
		return nil
	}
	return &document{form: resourceForm, root: found[0], body: spec, yaml: yaml}
}

// resources returns roots with each list replaced by its items.
func resources(roots []*node) []*node {
	var all []*node
	for _, root := range roots {
		if kind := root.stringMember("kind"); kind != "List" && kind != "SeccompProfileList" {
			all = append(all, root)
		} else if items := root.member("items"); items != nil {
			all = append(all, items.items...)
		}
	}
	return all
}
