package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// environmentFlags returns the variables of --env-file and --env, in this order, as
// NAME=VALUE. A name without a value gets that of minirun's environment, or is left out.
func environmentFlags(files, flags []string) ([]string, error) {
	var env []string
	for _, file := range files {
		lines, err := pairsFile("--env-file", "variable", file)
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			env = appendVariable(env, line)
		}
	}
	for _, text := range flags {
		if strings.HasPrefix(text, "=") || text == "" {
			return nil, &usageError{"--env " + text + ": a name is missing", "write NAME=VALUE"}
		}
		env = appendVariable(env, text)
	}
	return env, nil
}

// labelFiles returns the labels of --label-file as KEY=VALUE.
func labelFiles(files []string) ([]string, error) {
	var labels []string
	for _, file := range files {
		lines, err := pairsFile("--label-file", "label", file)
		if err != nil {
			return nil, err
		}
		labels = append(labels, lines...)
	}
	return labels, nil
}

func pairsFile(flag, what, file string) ([]string, error) {
	data, err := readLines(flag, file)
	if err != nil {
		return nil, err
	}
	return parsePairs(what, file, data)
}

// parsePairs reads Docker's format: NAME=VALUE or NAME on each line. Blank lines
// and lines that start with # are skipped, and quotes are part of the value.
func parsePairs(what, file string, data []byte) ([]string, error) {
	var pairs []string
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	lines.Buffer(nil, len(data)+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeftFunc(lines.Text(), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line, "=")
		wrong := ""
		switch {
		case !utf8.ValidString(line):
			wrong = "not valid UTF-8"
		case name == "":
			wrong = "a name is missing"
		case strings.IndexFunc(name, unicode.IsSpace) >= 0:
			wrong = fmt.Sprintf("%s %q contains white space", what, name)
		}
		if wrong != "" {
			return nil, &usageError{fmt.Sprintf("%s:%d: %s", file, n, wrong), "write one NAME=VALUE on each line"}
		}
		pairs = append(pairs, line)
	}
	return pairs, lines.Err()
}

func appendVariable(env []string, text string) []string {
	if strings.Contains(text, "=") {
		return append(env, text)
	}
	if value, ok := os.LookupEnv(text); ok {
		return append(env, text+"="+value)
	}
	return env
}
