package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/minirun/minirun/internal/hint"
)

// apply changes a configuration as an instruction of a Dockerfile does:
//
//	CMD ENTRYPOINT VOLUME   ["LIST", "OF", "STRINGS"] or words
//	ENV LABEL               NAME=VALUE... or NAME VALUE
//	EXPOSE                  PORT[-PORT][/PROTOCOL]...
//	ONBUILD STOPSIGNAL USER WORKDIR
//
// (Docker's Dockerfile reference; `docker import --change` takes the same, and
// HEALTHCHECK.)
func (c *ImageConfig) apply(instruction string) error {
	name, rest, _ := strings.Cut(strings.TrimSpace(instruction), " ")
	name, rest = strings.ToUpper(name), strings.TrimSpace(rest)
	fail := func(err error) error {
		return fmt.Errorf("change %s: %w", quote(instruction), err)
	}
	if rest == "" && name != "CMD" && name != "ENTRYPOINT" {
		return fail(hint.New("not an instruction with a value", "write for example 'ENV NAME=VALUE'"))
	}
	var err error
	switch name {
	case "CMD":
		c.Cmd = command(rest)
	case "ENTRYPOINT":
		c.Entrypoint = command(rest)
	case "ENV":
		c.Env, err = withVariables(c.Env, rest)
	case "LABEL":
		c.Labels, err = withLabels(c.Labels, rest)
	case "EXPOSE":
		c.ExposedPorts, err = withPorts(c.ExposedPorts, rest)
	case "VOLUME":
		c.Volumes = withVolumes(c.Volumes, rest)
	case "USER":
		c.User = rest
	case "WORKDIR":
		if !path.IsAbs(rest) {
			rest = path.Join("/", c.WorkingDir, rest)
		}
		c.WorkingDir = path.Clean(rest)
	case "STOPSIGNAL":
		c.StopSignal = rest
	case "ONBUILD":
		c.OnBuild = append(c.OnBuild, rest)
	default:
		err = hint.New(quote(name)+" is not one of the instructions that change an image's configuration",
			"they are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR")
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// command returns the command of CMD or ENTRYPOINT: a list, or else a text for a shell.
func command(text string) stringList {
	if list, ok := jsonStrings(text); ok {
		return list
	}
	if text == "" {
		return stringList{}
	}
	return stringList{"/bin/sh", "-c", text}
}

func jsonStrings(text string) (list []string, ok bool) {
	return list, strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &list) == nil
}

func withVariables(env []string, text string) ([]string, error) {
	pairs, err := parsePairs(text)
	for _, p := range pairs {
		found := false
		for i, old := range env {
			if name, _, _ := strings.Cut(old, "="); name == p.name {
				env[i], found = p.name+"="+p.value, true
			}
		}
		if !found {
			env = append(env, p.name+"="+p.value)
		}
	}
	return env, err
}

func withLabels(labels map[string]string, text string) (map[string]string, error) {
	pairs, err := parsePairs(text)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, p := range pairs {
		labels[p.name] = p.value
	}
	return labels, err
}

func withVolumes(volumes map[string]struct{}, text string) map[string]struct{} {
	list, ok := jsonStrings(text)
	if !ok {
		list = strings.Fields(text)
	}
	if volumes == nil {
		volumes = map[string]struct{}{}
	}
	for _, volume := range list {
		volumes[volume] = struct{}{}
	}
	return volumes
}

// withPorts adds ports, each as NUMBER/PROTOCOL.
func withPorts(ports map[string]struct{}, text string) (map[string]struct{}, error) {
	if ports == nil {
		ports = map[string]struct{}{}
	}
	for _, word := range strings.Fields(text) {
		span, protocol, found := strings.Cut(word, "/")
		if !found {
			protocol = "tcp"
		}
		first, last, isSpan := strings.Cut(span, "-")
		if !isSpan {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		protocol = strings.ToLower(protocol)
		if err1 != nil || err2 != nil || from > to || protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
			return nil, hint.New(quote(word)+" is not a port", "write for example 80, 53/udp or 8000-8010")
		}
		for port := from; port <= to; port++ {
			ports[strconv.FormatUint(port, 10)+"/"+protocol] = struct{}{}
		}
	}
	return ports, nil
}

type pair struct{ name, value string }

// parsePairs parses NAME=VALUE..., where quotes and backslashes may be in each, or NAME
// VALUE, where the value is the rest of the text as it is.
func parsePairs(text string) ([]pair, error) {
	words, err := splitWords(text)
	if err != nil {
		return nil, err
	}
	if len(words) > 0 && !strings.Contains(words[0], "=") {
		name, value, ok := strings.Cut(text, " ")
		if !ok {
			return nil, errors.New("it has no value")
		}
		return []pair{{name, strings.TrimSpace(value)}}, nil
	}
	var pairs []pair
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, errors.New(quote(word) + " is not NAME=VALUE")
		}
		pairs = append(pairs, pair{name, value})
	}
	return pairs, nil
}

// splitWords splits a text at spaces that are neither quoted nor after a backslash, and
// takes the quotes and backslashes out, as in a shell without variables.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quoted := false, rune(0)
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			if quoted == '"' && r != '"' && r != '\\' && r != '$' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quoted != '\'':
			escaped, inWord = true, true
		case quoted != 0:
			if r == quoted {
				quoted = 0
			} else {
				word.WriteRune(r)
			}
		case r == '"' || r == '\'':
			quoted, inWord = r, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quoted != 0 || escaped {
		return nil, errors.New("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
