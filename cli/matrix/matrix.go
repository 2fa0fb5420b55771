// Package matrix writes the verdicts of profiles on all calls as one page of HTML. The
// page loads nothing, and its policy (CSP level 3) allows only its own style and script.
package matrix

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"

	"github.com/minirun/minirun/seccomp/analyze"
)

var (
	//go:embed page.html
	page string
	//go:embed page.css
	style string
	//go:embed page.js
	script string
)

// data is the input of the script. Cells are indices into Kinds, since most calls
// share a few verdicts.
type data struct {
	Profiles []string       `json:"profiles"`
	Columns  []string       `json:"columns"`
	Kinds    []analyze.Cell `json:"kinds"`
	Rows     []row          `json:"rows"`
}

type row struct {
	Call    string  `json:"call"`
	Number  uint32  `json:"number"`
	Cells   [][]int `json:"cells"` // by profile, then column
	Varies  bool    `json:"varies"`
	Differs []bool  `json:"differs"`
}

// Write writes the page. Text of the profiles is untrusted, and stays text.
func Write(w io.Writer, m *analyze.Matrix) error {
	t, err := template.New("matrix").Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Matrix":     m,
		"Policy":     "default-src 'none'; base-uri 'none'; form-action 'none'; style-src " + hash(style) + "; script-src " + hash(script),
		"Style":      template.CSS(style),
		"Script":     template.JS(script), //nolint:gosec // the program's own
		"Data":       intern(m),
		"Comparison": len(m.Profiles) > 1,
	})
}

// hash returns a source of a Content-Security-Policy that allows exactly this text.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func intern(m *analyze.Matrix) data {
	d := data{Profiles: m.Profiles, Columns: m.Columns}
	numbers := map[string]int{}
	for _, r := range m.Rows {
		one := row{Call: r.Call, Number: r.Number, Varies: r.Varies(), Differs: r.Differs}
		for _, cells := range r.Cells {
			var kinds []int
			for _, c := range cells {
				key := fmt.Sprintf("%#v", c)
				n, ok := numbers[key]
				if !ok {
					n = len(d.Kinds)
					numbers[key] = n
					d.Kinds = append(d.Kinds, c)
				}
				kinds = append(kinds, n)
			}
			one.Cells = append(one.Cells, kinds)
		}
		d.Rows = append(d.Rows, one)
	}
	return d
}
