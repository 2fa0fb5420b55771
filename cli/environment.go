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

// environmentFlags gives the variables of --env-file and --env, in this order
// and as NAME=VALUE. A name alone takes minirun's own value, if it has one.
func environmentFlags(files, flags []string) ([]string, error) {
	var env []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fileError("--env-file", file, err)
		}
		if env, err = appendEnvFile(env, file, data); err != nil {
			return nil, err
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

// appendEnvFile reads Docker's format: a NAME=VALUE or a NAME a line, blank
// lines and lines that begin with # left out, quotes kept as they are.
func appendEnvFile(env []string, file string, data []byte) ([]string, error) {
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
			wrong = fmt.Sprintf("variable %q contains white space", name)
		}
		if wrong != "" {
			return nil, &usageError{fmt.Sprintf("%s:%d: %s", file, n, wrong), "write NAME=VALUE, a line each"}
		}
		env = appendVariable(env, line)
	}
	return env, lines.Err()
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
