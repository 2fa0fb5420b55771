package analyze

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sarifLog is the part of SARIF 2.1.0 that code scanning reads, written from the standard
// (OASIS, sections 3.13 to 3.30), and sharing nothing with sarif.go.
type sarifLog struct {
	Schema  string `json:"$schema"`
	Version string `json:"version"`
	Runs    []struct {
		ColumnKind string `json:"columnKind"`
		Tool       struct {
			Driver struct {
				Name           string `json:"name"`
				InformationURI string `json:"informationUri"`
				Rules          []struct {
					ID               string            `json:"id"`
					ShortDescription map[string]string `json:"shortDescription"`
					FullDescription  map[string]string `json:"fullDescription"`
					Help             map[string]string `json:"help"`
				} `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		Results []struct {
			RuleID    string            `json:"ruleId"`
			Level     string            `json:"level"`
			Message   map[string]string `json:"message"`
			Locations []struct {
				PhysicalLocation struct {
					ArtifactLocation struct {
						URI string `json:"uri"`
					} `json:"artifactLocation"`
					Region struct {
						StartLine   int `json:"startLine"`
						StartColumn int `json:"startColumn"`
					} `json:"region"`
				} `json:"physicalLocation"`
			} `json:"locations"`
		} `json:"results"`
	} `json:"runs"`
}

// readSARIF fails for fields that the standard does not have.
func readSARIF(t *testing.T, findings []Finding, base string) sarifLog {
	t.Helper()
	data, err := json.Marshal(SARIF(findings, base))
	if err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&log); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if log.Version != "2.1.0" || !strings.HasSuffix(log.Schema, "/sarif-2.1.0.json") {
		t.Errorf("version %q, $schema %q", log.Version, log.Schema)
	}
	if len(log.Runs) != 1 {
		t.Fatalf("%d runs", len(log.Runs))
	}
	if log.Runs[0].Results == nil {
		t.Error("without results a run counts as one that did not take place")
	}
	return log
}

func TestSARIF(t *testing.T) {
	var all []Finding
	for _, tt := range lintCases() {
		all = append(all, lint(t, tt.source)...)
	}
	log := readSARIF(t, all, "/base")
	driver := log.Runs[0].Tool.Driver
	if u, err := url.Parse(driver.InformationURI); err != nil || !u.IsAbs() || driver.Name == "" {
		t.Errorf("driver %q at %q", driver.Name, driver.InformationURI)
	}
	ids := map[string]bool{}
	for _, r := range driver.Rules {
		if ids[r.ID] {
			t.Errorf("rule %s is there twice", r.ID)
		}
		ids[r.ID] = true
		for _, text := range []string{r.ShortDescription["text"], r.FullDescription["text"], r.Help["text"]} {
			if text == "" {
				t.Errorf("rule %s lacks a description or help", r.ID)
			}
		}
	}
	levels := map[Severity]string{Error: "error", Warning: "warning", Info: "note"}
	if len(log.Runs[0].Results) != len(all) {
		t.Fatalf("%d results for %d findings", len(log.Runs[0].Results), len(all))
	}
	for i, r := range log.Runs[0].Results {
		f := all[i]
		if r.RuleID != f.ID || !ids[r.RuleID] || r.Level != levels[f.Severity] || !strings.Contains(r.Message["text"], f.Message) || !strings.Contains(r.Message["text"], f.Fix) {
			t.Errorf("%+v is %+v", f, r)
		}
		if len(r.Locations) != 1 {
			t.Fatalf("%d locations", len(r.Locations))
		}
		at := r.Locations[0].PhysicalLocation
		if at.ArtifactLocation.URI != "p.json" || at.Region.StartLine != f.Pos.Line || at.Region.StartColumn != f.Pos.Column || f.Pos.Column < 1 {
			t.Errorf("%s is %+v", f.Where, at)
		}
	}
	if got := readSARIF(t, nil, "/").Runs[0].Results; len(got) != 0 {
		t.Errorf("nothing was found: %v", got)
	}
}

// TestSARIFColumn checks that columns count UTF-16 code units; those of positions count bytes.
func TestSARIFColumn(t *testing.T) {
	findings := lint(t, `{"defaultAction": "SCMP_ACT_ALLOW",
"syscalls": [{"comment": "é €😀", "action": "SCMP_ACT_LOG", "names": ["raed"]}]}`)
	run := readSARIF(t, findings, "/").Runs[0]
	i := slices.IndexFunc(findings, func(f Finding) bool { return f.ID == "unknown-call" })
	if i < 0 {
		t.Fatalf("no unknown call: %v", findings)
	}
	// Before the name stand 66 ASCII characters, é (2 bytes, 1 unit), € (3, 1) and 😀 (4, 2).
	if got, want := findings[i].Pos.Column, 66+2+3+4+1; got != want {
		t.Errorf("column %d in bytes, want %d", got, want)
	}
	if got, want := run.Results[i].Locations[0].PhysicalLocation.Region.StartColumn, 66+1+1+2+1; got != want {
		t.Errorf("column %d, want %d", got, want)
	}
	if run.ColumnKind != "utf16CodeUnits" {
		t.Errorf("columnKind is %q", run.ColumnKind)
	}
}

// TestSARIFURI checks that a URI is relative if possible, and stands for the file.
func TestSARIFURI(t *testing.T) {
	for _, tt := range []struct{ file, want string }{
		{"p.json", "p.json"},
		{"./a/../p.json", "p.json"},
		{"../p.json", "../p.json"},
		{"a b/100%.json", "a%20b/100%25.json"},
		{"a:b.json", "./a:b.json"},
		{"/home/me/x/p.json", "x/p.json"},
		{"/home/me/..p.json", "..p.json"},
		{"/home/other/p 1.json", "file:///home/other/p%201.json"},
	} {
		findings, err := Lint(tt.file, []byte(`{}`), amd64)
		if err != nil {
			t.Fatal(err)
		}
		got := readSARIF(t, findings, "/home/me").Runs[0].Results[0].Locations[0].PhysicalLocation.ArtifactLocation.URI
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.file, diff)
		}
	}
}
