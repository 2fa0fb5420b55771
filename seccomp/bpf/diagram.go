package bpf

// node is a set of calls: a reduced ordered binary decision diagram (Bryant, 1986)
// over the bits of struct seccomp_data. Equal sets are equal nodes of one table.
type node int32

const (
	nothing    node = 0
	everything node = 1
)

// decision is an inner node: it asks for a bit. Bits with smaller numbers are asked
// first, see [Scope.variable].
type decision struct {
	bit       int32
	zero, one node
}

// The bounds of one question, which ends at the first that is reached: steps of
// [diagrams.ite], some tenths of a second, and nodes, some 20 MB. Docker's profile takes a few
// hundred steps for a call; rules for 200 pairs of values take a hundred thousand.
const (
	maxSteps = 1 << 21
	maxNodes = 1 << 18
)

// diagrams is a table of nodes.
type diagrams struct {
	nodes  []decision
	unique map[decision]node
	memo   []memo // results of ite, by their hash; allocated when needed
	steps  int    // taken for this question
	limit  int    // on nodes, for this question
}

// memo is a result of ite. A later result with the same hash replaces it.
type memo struct {
	test, then, otherwise, result node
}

const memoBits = 16

func newDiagrams() *diagrams {
	return &diagrams{
		nodes:  make([]decision, 2), // nothing and everything
		unique: map[decision]node{},
		limit:  maxNodes,
	}
}

// intricate ends a question; [Solver.Ask] turns it into [IntricateError].
type intricate struct{ why string }

func (d *diagrams) step() {
	if d.steps++; d.steps > maxSteps {
		panic(intricate{"it takes too many steps"})
	}
}

func (d *diagrams) decide(bit int32, zero, one node) node {
	if zero == one {
		return zero
	}
	key := decision{bit, zero, one}
	n, ok := d.unique[key]
	if !ok {
		if len(d.nodes) >= d.limit {
			panic(intricate{"it takes too much memory"})
		}
		n = node(len(d.nodes))
		d.nodes = append(d.nodes, key)
		d.unique[key] = n
	}
	return n
}

// ite returns the calls of then that are in test, and those of otherwise that are not.
func (d *diagrams) ite(test, then, otherwise node) node {
	switch {
	case test == everything || then == otherwise:
		return then
	case test == nothing:
		return otherwise
	case then == everything && otherwise == nothing:
		return test
	}
	if d.memo == nil {
		d.memo = make([]memo, 1<<memoBits)
	}
	known := &d.memo[place(test, then, otherwise)]
	if known.test == test && known.then == then && known.otherwise == otherwise {
		return known.result
	}
	d.step()
	bit := d.nodes[test].bit
	for _, n := range [2]node{then, otherwise} {
		if n > everything {
			bit = min(bit, d.nodes[n].bit)
		}
	}
	zero := d.ite(d.child(test, bit, false), d.child(then, bit, false), d.child(otherwise, bit, false))
	one := d.ite(d.child(test, bit, true), d.child(then, bit, true), d.child(otherwise, bit, true))
	n := d.decide(bit, zero, one)
	*known = memo{test, then, otherwise, n}
	return n
}

// place returns a hash. Multiplication by odd constants spreads small numbers.
func place(test, then, otherwise node) uint32 {
	h := uint32(test)*0x9e3779b1 ^ uint32(then)*0x85ebca77 ^ uint32(otherwise)*0xc2b2ae3d
	return (h ^ h>>15) * 0x27d4eb2f >> (32 - memoBits)
}

// child returns what remains of a set when a bit is known. No bit of the set may come before
// that bit.
func (d *diagrams) child(n node, bit int32, one bool) node {
	switch {
	case n <= everything || d.nodes[n].bit != bit:
		return n
	case one:
		return d.nodes[n].one
	}
	return d.nodes[n].zero
}

func (d *diagrams) and(a, b node) node { return d.ite(a, b, nothing) }
func (d *diagrams) or(a, b node) node  { return d.ite(a, everything, b) }
func (d *diagrams) not(a node) node    { return d.ite(a, nothing, everything) }
func (d *diagrams) xor(a, b node) node { return d.ite(a, d.not(b), b) }

// least calls one for each bit that is 1 in the least member of a set, which must not be
// empty. Bits that are asked first are the most significant.
func (d *diagrams) least(n node, one func(bit int32)) {
	for n > everything {
		at := d.nodes[n]
		if n = at.zero; n == nothing {
			one(at.bit)
			n = at.one
		}
	}
}

// member reports whether the bits are those of a member of a set.
func (d *diagrams) member(n node, one func(bit int32) bool) bool {
	for n > everything {
		n = d.child(n, d.nodes[n].bit, one(d.nodes[n].bit))
	}
	return n == everything
}

// last returns the largest bit that a set depends on, or -1.
func (d *diagrams) last(n node) int32 {
	seen := map[node]bool{}
	last := int32(-1)
	var visit func(n node)
	visit = func(n node) {
		if n <= everything || seen[n] {
			return
		}
		seen[n] = true
		last = max(last, d.nodes[n].bit)
		visit(d.nodes[n].zero)
		visit(d.nodes[n].one)
	}
	visit(n)
	return last
}
