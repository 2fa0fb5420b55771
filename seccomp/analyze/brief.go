package analyze

import (
	"strings"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// brief sets Brief of cases whose When is a long list: if the only deciding argument has a
// name for each known value, Brief lists the names that the case is not for. It covers known
// values only; When stays exact.
func (e *Explainer) brief(c CallPattern, cases []Case) ([]Case, error) {
	arch := e.arch
	index, ok := e.onlyArgument(c.Name)
	names := syscalls.Choices(arch, c.Name, index)
	if !ok || len(names) == 0 || index < c.Given {
		return cases, nil
	}
	without := make([][]string, len(cases))
	for _, name := range names {
		one := c
		one.Args[index], _ = syscalls.Constant(arch, c.Name, index, name)
		v, err := e.Run(one)
		if err != nil {
			return nil, err
		}
		for i := range cases {
			if cases[i].Verdict != v.String() {
				without[i] = append(without[i], name)
			}
		}
	}
	for i := range cases {
		if listed := strings.Count(cases[i].When, " or ") + 1; !cases[i].other && listed > len(without[i])+2 {
			cases[i].Brief = "any known " + syscalls.ChoiceNoun(c.Name, index) + allExcept(without[i])
		}
	}
	return cases, nil
}

func allExcept(names []string) string {
	switch n := len(names); n {
	case 0:
		return ""
	case 1:
		return " except " + names[0]
	default:
		return " except " + strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}

// onlyArgument returns the index of the argument that decides on a call alone: each
// conjunction is one condition on it.
func (e *Explainer) onlyArgument(call string) (index int, ok bool) {
	for _, g := range append(conjunctions(e.Policy, call), multiplexedConjunctions(e.Policy, call)...) {
		if len(g.args) != 1 || ok && int(g.args[0].Index) != index {
			return 0, false
		}
		index, ok = int(g.args[0].Index), true
	}
	return index, ok
}
