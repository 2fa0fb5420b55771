package seccomp

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Position is a place in a profile. Line and Column start at 1; columns count bytes. Line 0
// means the file as a whole.
type Position struct {
	File         string
	Line, Column int
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// lines finds positions from byte offsets.
type lines struct {
	file   string
	data   []byte
	starts []int // offset of the first byte of each line

	characters map[int][]int // by line, computed when needed: the offset in the line of each character
}

func newLines(file string, data []byte) *lines {
	l := &lines{file: file, data: data, starts: []int{0}}
	for i, b := range data {
		if b == '\n' {
			l.starts = append(l.starts, i+1)
		}
	}
	return l
}

func (l *lines) at(offset int) Position {
	line := sort.SearchInts(l.starts, offset+1)
	return Position{File: l.file, Line: line, Column: offset - l.starts[line-1] + 1}
}

// Problem is one error in a profile.
type Problem struct {
	Pos     Position
	Message string
	Fix     string // what to do, or ""
	Cause   Cause  // instead of Fix, where that depends on the program that reads profiles; or ""
}

// Cause is a kind of problem for which the program that reads profiles words the fix, with
// the names of its own commands and flags.
type Cause string

// The causes.
const (
	CauseEmpty       Cause = "empty"        // the file is empty
	CauseEmptyObject Cause = "empty object" // the profile is {}, which Docker reads as no filter
	CauseNoFilter    Cause = "no filter"    // the file is a bundle's config.json without a filter
	CauseDockerKey   Cause = "Docker key"   // a flat list has a key of Docker's format
)

func (p *Problem) Error() string { return p.Pos.String() + ": " + p.Message }

// Problems are all errors in a profile, in the order of the file.
type Problems []*Problem

func (p Problems) Error() string { return strings.Join(p.Lines(), "\n") }

// Lines returns a line for each problem. If there are several, the lines have the fixes, too.
func (p Problems) Lines() []string {
	all := make([]string, len(p))
	for i, problem := range p {
		all[i] = problem.Error()
		if len(p) > 1 && problem.Fix != "" {
			all[i] += " (" + problem.Fix + ")"
		}
	}
	return all
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b *Problem) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
}
