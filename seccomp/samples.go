package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// holds reports whether arguments meet all of some conditions. It only picks
// examples: verdicts come from the program.
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
			ok = v&c.Value == c.ValueTwo&c.Value // as libseccomp has it
		}
		if !ok {
			return false
		}
	}
	return true
}

// satisfying gives arguments that meet the conditions, each of which is about
// another one; where a condition cannot be met they are as near as can be.
func satisfying(conditions []specs.LinuxSeccompArg) [6]uint64 {
	var args [6]uint64
	for _, c := range conditions {
		v := c.Value
		switch c.Op {
		case specs.OpNotEqual, specs.OpGreaterThan:
			v++
		case specs.OpLessThan:
			v--
		case specs.OpMaskedEqual:
			v = c.ValueTwo
		}
		args[c.Index] = v
	}
	return args
}

// maxSamples bounds samples, whose number is a product.
const maxSamples = 1 << 14

// samples gives arguments at the edges of all conditions: for each argument
// that some condition is about the values at, below and above those it names and
// with another upper half, each bit of its masks, all that is not in them, nothing
// and everything, in all combinations.
func samples(groups []condition) [][6]uint64 {
	var values [6][]uint64
	for i := range values {
		values[i] = []uint64{0}
	}
	add := func(index uint, vs ...uint64) {
		for _, v := range vs {
			if !slices.Contains(values[index], v) {
				values[index] = append(values[index], v)
			}
		}
	}
	for _, g := range groups {
		for _, a := range g.args {
			add(a.Index, 1, 1<<32-1, a.Value-1, a.Value, a.Value+1, a.Value^1<<32)
			if a.Op == specs.OpMaskedEqual {
				add(a.Index, a.ValueTwo, a.Value|a.ValueTwo, a.ValueTwo|^a.Value)
				for bit := range 64 {
					if a.Value&(1<<bit) != 0 {
						add(a.Index, a.ValueTwo^(1<<bit))
					}
				}
			}
		}
	}
	return combinations(values)
}

// combinations are those of values for each argument, maxSamples at most.
func combinations(values [6][]uint64) [][6]uint64 {
	all := [][6]uint64{{}}
	for i, vs := range values {
		var longer [][6]uint64
		for _, args := range all {
			for _, v := range vs {
				if len(longer) == maxSamples {
					break
				}
				args[i] = v
				longer = append(longer, args)
			}
		}
		all = longer
	}
	return all
}
