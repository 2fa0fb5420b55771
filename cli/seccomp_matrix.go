package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/cli/matrix"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
)

func (a *app) seccompMatrixCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "matrix",
		Usage:     "show what each capability changes, as text or as a page for a browser; two profiles side by side",
		ArgsUsage: "[PROFILE [PROFILE]]",
		Flags: append(targetFlags(), profileFlag(),
			text("", "output", "o", "write a page to `FILE.html`, or - for standard output, instead of text").with(files("-")), formatFlag()),
		Action: a.matrixAction,
	}
}

func (a *app) matrixAction(c *ucli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	file := c.String("output")
	switch {
	case c.IsSet("output") && file == "":
		return &usageError{"--output: a file name is missing", "give a name, or - for standard output"}
	case c.IsSet("output") && asJSON:
		return &usageError{"--output writes a page of HTML, not JSON", "leave out one of --output and --format json"}
	}
	profiles, err := a.matrixProfiles(c)
	if err != nil {
		return err
	}
	t, err := target(c)
	if err != nil {
		return err
	}
	m, err := analyze.NewMatrix(t, capabilitySets(profiles, t.Capabilities, true), profiles...)
	switch {
	case err != nil:
		return err
	case asJSON:
		return writeJSON(a.stdout, m)
	case file == "":
		return a.writeMatrix(m)
	}
	var page bytes.Buffer
	if err := matrix.Write(&page, m); err != nil {
		return err
	}
	if file == "-" {
		_, err = a.stdout.Write(page.Bytes())
		return err
	}
	return writeFile(file, page.Bytes())
}

// matrixProfiles returns the profiles of --profile and of the arguments.
func (a *app) matrixProfiles(c *ucli.Context) ([]*seccomp.Profile, error) {
	names := profileNames(c)
	if len(names) == 0 {
		names = []string{c.String("profile")}
	}
	if len(names) > 2 {
		return nil, &usageError{"seccomp matrix: more than two profiles", "give one profile, or two to compare"}
	}
	var all []*seccomp.Profile
	for _, name := range names {
		p, err := a.loadProfile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// writeMatrix lists the calls whose verdict a capability changes, or on which two
// profiles differ, with the verdict in the first column and the changes.
func (a *app) writeMatrix(m *analyze.Matrix) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "CALL\tPROFILE\t%s\tCHANGED\n", strings.ToUpper(m.Columns[0]))
	for _, row := range m.Rows {
		if !row.Varies() && !row.DiffersAnywhere() {
			continue
		}
		for i, cells := range row.Cells {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", row.Call, printable(m.Profiles[i]), cells[0].Verdict, cmp.Or(strings.Join(changes(m.Columns, cells), ", "), "-"))
		}
	}
	return w.Flush()
}

// changes returns the columns whose verdict differs from the first one's.
func changes(columns []string, cells []analyze.Cell) []string {
	var all []string
	for i, c := range cells {
		if !c.Same(cells[0]) {
			all = append(all, columns[i]+": "+c.Verdict)
		}
	}
	return all
}
