package analyze

import (
	"bytes"
	"net/url"
	"path/filepath"
	"unicode/utf16"

	"github.com/minirun/minirun/seccomp"
)

// sarif is a log in the Static Analysis Results Interchange Format 2.1.0
// (OASIS), as far as it is used here.
type sarif struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver struct {
			Name           string      `json:"name"`
			InformationURI string      `json:"informationUri"`
			Rules          []sarifRule `json:"rules"`
		} `json:"driver"`
	} `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	ShortDescription sarifText `json:"shortDescription"`
	FullDescription  sarifText `json:"fullDescription"`
	Help             sarifText `json:"help"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	Level     string          `json:"level"` // error, warning or note
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			StartLine   int `json:"startLine"`
			StartColumn int `json:"startColumn"`
		} `json:"region"`
	} `json:"physicalLocation"`
}

// SARIF returns findings in the form that code scanning tools read, as a value for
// encoding/json. Files below the directory base are named relative to it.
func SARIF(findings []Finding, base string) any {
	var run sarifRun
	run.Tool.Driver.Name = "minirun seccomp lint"
	run.Tool.Driver.InformationURI = "https://github.com/minirun/minirun"
	run.ColumnKind = "utf16CodeUnits"
	for _, r := range LintRules() {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{r.ID, sarifText{r.About}, sarifText{r.About + ". " + r.Help}, sarifText{r.Help}})
	}
	run.Results = []sarifResult{}
	for _, f := range findings {
		result := sarifResult{RuleID: f.ID, Level: string(f.Severity), Message: sarifText{f.Message}}
		if f.Severity == Info {
			result.Level = "note"
		}
		if f.Fix != "" {
			result.Message.Text += ": " + f.Fix
		}
		var at sarifLocation
		at.PhysicalLocation.ArtifactLocation.URI = sarifURI(f.Pos.File, base)
		at.PhysicalLocation.Region.StartLine = f.Pos.Line
		at.PhysicalLocation.Region.StartColumn = f.column
		result.Locations = []sarifLocation{at}
		run.Results = append(run.Results, result)
	}
	return sarif{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}
}

func sarifURI(file, base string) string {
	if !filepath.IsAbs(file) {
		return (&url.URL{Path: filepath.Clean(file)}).String()
	}
	if below, err := filepath.Rel(base, file); err == nil && filepath.IsLocal(below) {
		return (&url.URL{Path: below}).String()
	}
	return (&url.URL{Scheme: "file", Path: file}).String()
}

// utf16Column returns the column of a position as SARIF and editors count it.
func utf16Column(data []byte, pos seccomp.Position) int {
	start := 0
	for range pos.Line - 1 {
		start += bytes.IndexByte(data[start:], '\n') + 1
	}
	return 1 + len(utf16.Encode([]rune(string(data[start:start+pos.Column-1]))))
}
