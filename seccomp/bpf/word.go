package bpf

import (
	"math/bits"

	"golang.org/x/sys/unix"
)

// word is the content of a register for every call at once: a number, or for each bit, from
// the least significant one, the set of calls for which it is 1.
type word struct {
	bits   *[32]node
	number uint32 // when bits is nil
}

// expanded returns the bits of any word.
func (w word) expanded() *[32]node {
	if w.bits != nil {
		return w.bits
	}
	var all [32]node
	for i := range all {
		all[i] = node(w.number >> i & 1)
	}
	return &all
}

// asWord returns the bits as a word, as a number if they are the same for all calls.
func asWord(all *[32]node) word {
	var number uint32
	for i, b := range all {
		if b > everything {
			return word{bits: all}
		}
		number |= uint32(b) << i
	}
	return word{number: number}
}

// equal returns the calls for which the bits are equal to a number.
func (d *diagrams) equal(all []node, number uint64) node {
	n := everything
	for i, b := range all { // starting with the bit that is asked last keeps each step short
		if number>>i&1 == 0 {
			n = d.ite(b, nothing, n)
		} else {
			n = d.and(b, n)
		}
	}
	return n
}

// above returns the calls for which the bits are greater than a number, or equal to it if
// orEqual.
func (d *diagrams) above(all []node, number uint64, orEqual bool) node {
	n := nothing
	if orEqual {
		n = everything
	}
	for i, b := range all {
		if number>>i&1 == 0 {
			n = d.or(b, n)
		} else {
			n = d.and(b, n)
		}
	}
	return n
}

// compare returns the calls for which a conditional jump is taken.
func (d *diagrams) compare(op uint16, a, b word) node {
	if a.bits == nil && b.bits == nil {
		if taken(op, a.number, b.number) {
			return everything
		}
		return nothing
	}
	if b.bits != nil {
		return d.compareWords(op, a.expanded(), b.bits)
	}
	switch op {
	case unix.BPF_JEQ:
		return d.equal(a.bits[:], uint64(b.number))
	case unix.BPF_JGT:
		return d.above(a.bits[:], uint64(b.number), false)
	case unix.BPF_JGE:
		return d.above(a.bits[:], uint64(b.number), true)
	}
	n := nothing
	for i, bit := range a.bits {
		if b.number>>i&1 == 1 {
			n = d.or(bit, n)
		}
	}
	return n
}

func taken(op uint16, a, b uint32) bool {
	switch op {
	case unix.BPF_JEQ:
		return a == b
	case unix.BPF_JGT:
		return a > b
	case unix.BPF_JGE:
		return a >= b
	}
	return a&b != 0 // BPF_JSET
}

// compareWords compares two words that both depend on the call. For whole words the result
// needs more nodes than the bound, and the question ends as too intricate.
func (d *diagrams) compareWords(op uint16, a, b *[32]node) node {
	n := nothing
	if op == unix.BPF_JEQ || op == unix.BPF_JGE {
		n = everything
	}
	for i := range a {
		switch op {
		case unix.BPF_JEQ:
			n = d.ite(d.xor(a[i], b[i]), nothing, n)
		case unix.BPF_JSET:
			n = d.or(d.and(a[i], b[i]), n)
		default:
			n = d.ite(d.xor(a[i], b[i]), a[i], n)
		}
	}
	return n
}

// compute returns the result of an arithmetic instruction.
func (d *diagrams) compute(op uint16, a, b word) word {
	if a.bits == nil && b.bits == nil {
		return word{number: calculate(op, a.number, b.number)}
	}
	var all [32]node
	switch op {
	case unix.BPF_LSH, unix.BPF_RSH, unix.BPF_DIV:
		return d.shift(op, a, b)
	case unix.BPF_ADD:
		all = d.sum(a.expanded(), b.expanded(), nothing)
	case unix.BPF_SUB: // a + ^b + 1
		inverse := *b.expanded()
		for i := range inverse {
			inverse[i] = d.not(inverse[i])
		}
		all = d.sum(a.expanded(), &inverse, everything)
	case unix.BPF_MUL:
		all = d.product(a.expanded(), b.expanded())
	default:
		x, y := a.expanded(), b.expanded()
		for i := range all {
			switch op {
			case unix.BPF_AND:
				all[i] = d.and(x[i], y[i])
			case unix.BPF_OR:
				all[i] = d.or(x[i], y[i])
			case unix.BPF_XOR:
				all[i] = d.xor(x[i], y[i])
			}
		}
	}
	return asWord(&all)
}

// calculate is compute for numbers. The divisor must not be 0. A shift by more than 31 has no
// defined meaning: interpreters and JIT compilers differ.
func calculate(op uint16, a, b uint32) uint32 {
	switch op {
	case unix.BPF_ADD:
		return a + b
	case unix.BPF_SUB:
		return a - b
	case unix.BPF_MUL:
		return a * b
	case unix.BPF_DIV:
		return a / b
	case unix.BPF_AND:
		return a & b
	case unix.BPF_OR:
		return a | b
	case unix.BPF_XOR:
		return a ^ b
	}
	if b > 31 {
		panic(intricate{"it shifts by more than 31 bits"})
	}
	if op == unix.BPF_LSH {
		return a << b
	}
	return a >> b
}

// shift moves bits by a number; a division by a power of two is a shift.
func (d *diagrams) shift(op uint16, a, b word) word {
	by := b.number
	switch {
	case b.bits != nil:
		panic(intricate{"it shifts or divides by what depends on the call"})
	case op == unix.BPF_DIV && bits.OnesCount32(by) != 1:
		panic(intricate{"it divides an argument by a number that is no power of two"})
	case op == unix.BPF_DIV:
		by = uint32(bits.TrailingZeros32(by))
	case by > 31:
		panic(intricate{"it shifts by more than 31 bits"})
	}
	var all [32]node
	if op == unix.BPF_LSH {
		copy(all[by:], a.bits[:])
	} else {
		copy(all[:], a.bits[by:])
	}
	return asWord(&all)
}

func (d *diagrams) sum(a, b *[32]node, carry node) (all [32]node) {
	for i := range all {
		half := d.xor(a[i], b[i])
		all[i] = d.xor(half, carry)
		carry = d.ite(half, carry, a[i])
	}
	return all
}

func (d *diagrams) product(a, b *[32]node) (all [32]node) {
	for i := range b {
		if b[i] == nothing {
			continue
		}
		var addend [32]node
		for j := range 32 - i {
			addend[i+j] = d.and(a[j], b[i])
		}
		all = d.sum(&all, &addend, nothing)
	}
	return all
}

// merge returns a word that is a for the calls in when, and b for the others.
func (d *diagrams) merge(when node, a, b word) word {
	if a == b {
		return a
	}
	x, y := a.expanded(), b.expanded()
	var all [32]node
	for i := range all {
		all[i] = d.ite(when, x[i], y[i])
	}
	return asWord(&all)
}
