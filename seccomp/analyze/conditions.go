package analyze

import (
	"math"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/actions"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// conjunction is a set of conditions; a rule decides on calls that meet all of them.
type conjunction struct {
	args []specs.LinuxSeccompArg
	rule *seccomp.Rule
}

// conjunctions returns the conditions on a call of the rules that apply, except rules that do
// what the default action does.
func conjunctions(p *seccomp.Policy, name string) []conjunction {
	var all []conjunction
	for i, s := range p.Seccomp.Syscalls {
		if len(s.Args) == 0 || !slices.Contains(s.Names, name) {
			continue
		}
		if isDefault(p, s) {
			continue
		}
		for _, g := range actions.Alternatives(s.Args) {
			all = append(all, conjunction{compared(p, g), &p.Profile.Rules[p.Origin[i]]})
		}
	}
	return all
}

// compared returns the conditions as the program compares them. For architectures with 32-bit
// registers libseccomp compares the lower halves only (db_col_rule_add).
func compared(p *seccomp.Policy, conditions []specs.LinuxSeccompArg) []specs.LinuxSeccompArg {
	switch p.Target.Arch {
	case syscalls.X86, syscalls.ARM, syscalls.S390, syscalls.PPC, syscalls.MIPS, syscalls.MIPSEL:
	default:
		return conditions
	}
	conditions = slices.Clone(conditions)
	for i := range conditions {
		conditions[i].Value &= math.MaxUint32
		conditions[i].ValueTwo &= math.MaxUint32
	}
	return conditions
}

// holds reports whether arguments meet all conditions. It is used only to find the rule
// behind a verdict, which comes from the program.
func holds(conditions []specs.LinuxSeccompArg, args [6]uint64) bool {
	for _, c := range conditions {
		v, ok := args[c.Index], false
		switch c.Op {
		case specs.OpEqualTo:
			ok = v == c.Value
		case specs.OpNotEqual:
			ok = v != c.Value
		case specs.OpGreaterThan:
			ok = v > c.Value
		case specs.OpGreaterEqual:
			ok = v >= c.Value
		case specs.OpLessThan:
			ok = v < c.Value
		case specs.OpLessEqual:
			ok = v <= c.Value
		case specs.OpMaskedEqual:
			ok = v&c.Value == c.ValueTwo&c.Value // as in libseccomp
		}
		if !ok {
			return false
		}
	}
	return true
}

// meeting returns the calls of a scope that meet all conditions.
func meeting(scope *bpf.Scope, conditions []specs.LinuxSeccompArg) bpf.Set {
	all := scope.All()
	for _, c := range conditions {
		i := int(c.Index)
		switch c.Op {
		case specs.OpEqualTo:
			all = all.And(scope.Equal(i, math.MaxUint64, c.Value))
		case specs.OpNotEqual:
			all = all.Minus(scope.Equal(i, math.MaxUint64, c.Value))
		case specs.OpGreaterThan:
			all = all.And(scope.Above(i, c.Value))
		case specs.OpGreaterEqual:
			all = all.And(scope.Above(i, c.Value).Or(scope.Equal(i, math.MaxUint64, c.Value)))
		case specs.OpLessThan:
			all = all.Minus(scope.Above(i, c.Value)).Minus(scope.Equal(i, math.MaxUint64, c.Value))
		case specs.OpLessEqual:
			all = all.Minus(scope.Above(i, c.Value))
		case specs.OpMaskedEqual: // as in libseccomp
			all = all.And(scope.Equal(i, c.Value, c.ValueTwo&c.Value))
		}
	}
	return all
}
