package analyze

import (
	"slices"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Matrix has the verdicts of profiles on every call of an architecture, for several sets of
// capabilities.
type Matrix struct {
	Arch     string   `json:"arch"`
	Kernel   string   `json:"kernel"`
	Profiles []string `json:"profiles"`
	Columns  []string `json:"columns"` // the names of the sets of capabilities
	Rows     []Row    `json:"rows"`    // the calls, by name
}

// Row is one call of a matrix.
type Row struct {
	Call   string   `json:"call"`
	Number uint32   `json:"number"`
	Cells  [][]Cell `json:"cells"` // by profile, then by column
	// Differs says for each column whether the verdicts of two profiles differ for some
	// arguments. It is empty for one profile.
	Differs []bool `json:"differs,omitempty"`
}

// Cell is the verdict on a call, as in [Explanation].
type Cell struct {
	Verdict string `json:"verdict"`
	Because string `json:"because"`
	Rule    string `json:"rule,omitempty"`
	Comment string `json:"comment,omitempty"`
	Cases   []Case `json:"cases,omitempty"`
}

// NewMatrix returns the verdicts of one or two profiles on every call of t.Arch, for t with
// the capabilities of each column.
func NewMatrix(t seccomp.Target, columns []Column, profiles ...*seccomp.Profile) (*Matrix, error) {
	m := &Matrix{Arch: t.Arch.String(), Kernel: t.Kernel.String()}
	for _, name := range slices.Sorted(slices.Values(syscalls.Calls(t.Arch))) {
		number, _ := syscalls.Number(t.Arch, name)
		row := Row{Call: name, Number: number, Cells: make([][]Cell, len(profiles))}
		for i := range profiles {
			row.Cells[i] = make([]Cell, len(columns))
		}
		if len(profiles) > 1 {
			row.Differs = make([]bool, len(columns))
		}
		m.Rows = append(m.Rows, row)
	}
	for _, p := range profiles {
		m.Profiles = append(m.Profiles, p.File)
	}
	for _, column := range columns {
		m.Columns = append(m.Columns, column.Name)
	}
	return m, eachColumn(t, columns, func(column int, t seccomp.Target) error { return m.fill(column, t, profiles) })
}

// fill sets the cells of one column.
func (m *Matrix) fill(column int, t seccomp.Target, profiles []*seccomp.Profile) error {
	var sides []side
	for i, p := range profiles {
		policy, err := p.Resolve(t)
		if err != nil {
			return err
		}
		e, err := NewExplainer(policy)
		if err != nil {
			return err
		}
		sides = append(sides, side{e.walker, e})
		for _, row := range m.Rows {
			x, _, err := e.verdict(CallPattern{Name: row.Call})
			if err != nil {
				return err
			}
			row.Cells[i][column] = Cell{x.Verdict, x.Because, x.Rule, x.Comment, x.Cases}
		}
	}
	if len(profiles) < 2 {
		return nil
	}
	c := &comparison{solver: bpf.NewSolver(), a: sides[0], b: sides[1]}
	if err := c.arch(t.Arch); err != nil {
		return err
	}
	differ := map[string]bool{}
	for _, d := range c.found {
		differ[d.Call] = true
	}
	for _, row := range m.Rows {
		row.Differs[column] = differ[row.Call]
	}
	return nil
}

// Varies reports whether capabilities change the verdict on the call.
func (r *Row) Varies() bool {
	return slices.ContainsFunc(r.Cells, func(cells []Cell) bool {
		return slices.ContainsFunc(cells, func(c Cell) bool { return !c.Same(cells[0]) })
	})
}

// DiffersAnywhere reports whether two profiles differ in any column.
func (r *Row) DiffersAnywhere() bool { return slices.Contains(r.Differs, true) }

// Same reports whether two cells have the same verdicts for the same conditions.
func (c Cell) Same(other Cell) bool {
	return c.Verdict == other.Verdict && slices.EqualFunc(c.Cases, other.Cases, func(a, b Case) bool {
		return a.Verdict == b.Verdict && a.When == b.When
	})
}
