package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode"
)

// listing writes rows as --format says: json, a template of Go's text/template, or
// 'table TEMPLATE', as docker's client does.
type listing[R any] struct {
	table   string // the template for text
	heading R      // what a table prints above each field
}

// writer returns the function that writes rows. data is what the format json writes.
func (l listing[R]) writer(format string) (func(w io.Writer, data any, rows []R) error, error) {
	switch {
	case format == "json":
		return func(w io.Writer, data any, _ []R) error { return writeJSON(w, data) }, nil
	case format == "text" || format == "table" || format == "":
		format = "table " + l.table
	case !strings.Contains(format, "{{"):
		return nil, &usageError{"--format " + format + ": unknown format", "use text, json or a template such as '{{json .}}'"}
	}
	format, isTable := strings.CutPrefix(format, "table ")
	parsed, err := parseTemplate(format)
	if err != nil {
		return nil, err
	}
	if err := parsed.Execute(io.Discard, l.heading); err != nil {
		return nil, templateError(format, err)
	}
	return func(w io.Writer, _ any, rows []R) error {
		if !isTable {
			return executeAll(w, parsed, rows)
		}
		table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		return errors.Join(executeAll(table, parsed, []R{l.heading}), executeAll(table, parsed, rows), table.Flush())
	}, nil
}

func executeAll[R any](w io.Writer, t *template.Template, rows []R) error {
	for _, row := range rows {
		if err := t.Execute(w, row); err != nil {
			return err
		}
	}
	return nil
}

// parseTemplate parses the template of --format, with a newline at its end.
func parseTemplate(format string) (*template.Template, error) {
	// As with Docker, the two characters \t are a tab, and \n a newline.
	text := strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format)
	parsed, err := template.New("").Funcs(templateFunctions()).Parse(text + "\n")
	if err != nil {
		return nil, templateError(format, err)
	}
	return parsed, nil
}

func templateError(format string, err error) error {
	return &usageError{"--format " + format + ": " + templateProblem(err), "--format '{{json .}}' prints all fields"}
}

// templateProblem returns the text of an error of text/template without positions and the
// names of Go types.
func templateProblem(err error) string {
	text := err.Error()
	if _, rest, ok := strings.Cut(text, "can't evaluate field "); ok {
		field, _, _ := strings.Cut(rest, " ")
		return "there is no field ." + field
	}
	if _, rest, ok := strings.Cut(text, "map has no entry for key "); ok {
		return "there is no field ." + strings.Trim(rest, `"`)
	}
	if strings.HasSuffix(text, ": unexpected EOF") {
		return "an {{end}} is missing"
	}
	text = strings.TrimPrefix(text, "template: :")
	if _, rest, ok := strings.Cut(text, ": executing "); ok {
		_, text, _ = strings.Cut(rest, ": ")
	} else if position, rest, ok := strings.Cut(text, ": "); ok && strings.Trim(position, "0123456789:") == "" {
		text = rest
	}
	return text
}

// templateFunctions are the functions that docker's client adds to Go's.
func templateFunctions() template.FuncMap {
	return template.FuncMap{
		"json":  jsonText,
		"split": strings.Split,
		"join":  func(parts []string, separator string) string { return strings.Join(parts, separator) },
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"title": title,
		"pad": func(text string, before, after int) string {
			return strings.Repeat(" ", max(before, 0)) + text + strings.Repeat(" ", max(after, 0))
		},
		"truncate": func(text string, length int) string {
			runes := []rune(text)
			return string(runes[:min(len(runes), max(length, 0))])
		},
	}
}

// title returns text with a capital letter at the start of each word.
func title(text string) string {
	before := ' '
	return strings.Map(func(r rune) rune {
		start := !unicode.IsLetter(before) && !unicode.IsDigit(before) && before != '_' && before != '\''
		before = r
		if start {
			return unicode.ToTitle(r)
		}
		return r
	}, text)
}

// jsonText returns v as JSON on one line.
func jsonText(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
