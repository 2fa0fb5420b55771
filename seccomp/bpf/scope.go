package bpf

import (
	"encoding/binary"
	"slices"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// Solver answers questions about all calls of a kind at once. Its answers are
// proofs, not samples: sets of calls are represented exactly. It is not safe for
// concurrent use; a new one is cheap.
type Solver struct{ *diagrams }

// NewSolver makes a solver.
func NewSolver() *Solver { return &Solver{newDiagrams()} }

// IntricateError means that there is no answer: the question takes more than a fixed number
// of steps or nodes of decision diagrams, or the program does arithmetic that a filter has no
// use for, such as a division by an argument. Filters of libseccomp do not cause it.
type IntricateError struct{ Why string }

func (e *IntricateError) Error() string {
	return "the program is too intricate to say what it does for all arguments: " + e.Why
}

// Ask calls question, a function that makes scopes and sets, which are not valid after it
// returns. The error is the function's own, or an [IntricateError].
func (s *Solver) Ask(question func() error) (err error) {
	if len(s.nodes) > maxNodes/4 { // nodes of earlier questions
		s.diagrams = newDiagrams()
	}
	s.steps, s.limit = 0, len(s.nodes)+maxNodes
	defer func() {
		if r := recover(); r != nil {
			why, ok := r.(intricate)
			if !ok {
				panic(r)
			}
			s.diagrams = newDiagrams()
			err = &IntricateError{why.why}
		}
	}()
	return question()
}

// wordCount is the number of 32-bit words in struct seccomp_data.
const wordCount = 16

// Scope is the set of calls that a question is about. It leaves out calls that cannot occur:
// for programs with 32-bit registers the upper halves of arguments are 0.
type Scope struct {
	solver *Solver
	little bool
	fixed  [wordCount]bool
	data   [wordCount]uint32 // of the fixed words
	open   [wordCount]*[32]node
	all    node
}

func (s *Solver) scope(a syscalls.Arch) *Scope {
	return &Scope{solver: s, little: ByteOrder(a) == binary.LittleEndian, all: everything}
}

// Number returns the calls of an architecture with a number, as a filter sees it.
func (s *Solver) Number(a syscalls.Arch, number uint32) *Scope {
	c := s.scope(a)
	c.fix(OffsetArch/4, a.Audit())
	c.fix(OffsetNr/4, number)
	switch a { // MIPS sign-extends: the upper halves are not always 0
	case syscalls.X86, syscalls.ARM, syscalls.S390, syscalls.PPC:
		for i := range 6 {
			c.fix(c.half(i, true), 0)
		}
	}
	return c
}

// Unassigned returns the calls of an architecture whose numbers are not in its table, such as
// those that later kernels assign. Numbers are of type int, and none is negative.
func (s *Solver) Unassigned(a syscalls.Arch) *Scope {
	c := s.Number(a, 0)
	c.fixed[OffsetNr/4] = false
	var numbers []uint32
	for _, name := range syscalls.Calls(a) {
		number, _ := syscalls.Number(a, name)
		numbers = append(numbers, number)
	}
	nr := c.word(OffsetNr / 4)
	c.all = s.ite(c.oneOf(OffsetNr/4, numbers), nothing, s.not(nr.bits[31]))
	switch a {
	case syscalls.X32:
		c.all = s.and(c.all, nr.bits[30]) // X32Bit
	case syscalls.AMD64:
		c.all = s.ite(nr.bits[30], nothing, c.all)
	}
	return c
}

// Elsewhere returns all calls, with numbers from 0, of architectures other than these. Their
// byte order is taken to be that of the first.
func (s *Solver) Elsewhere(arches ...syscalls.Arch) *Scope {
	c := s.scope(arches[0])
	var audits []uint32
	for _, a := range arches {
		audits = append(audits, a.Audit())
	}
	c.all = s.ite(c.oneOf(OffsetArch/4, audits), nothing, s.not(c.word(OffsetNr / 4).bits[31]))
	return c
}

// half returns the index of the word that is the upper or lower half of an argument.
func (c *Scope) half(argument int, upper bool) int {
	at := OffsetArgs/4 + 2*argument
	if upper == c.little {
		at++
	}
	return at
}

// variable returns the number that a bit of a word has in diagrams. The most significant bit
// of a 64-bit field comes first.
func (c *Scope) variable(at, bit int) int32 {
	if at >= OffsetIP/4 && c.little {
		at ^= 1
	}
	return int32(32*at + 31 - bit)
}

// place is the inverse of variable.
func (c *Scope) place(variable int32) (at, bit int) {
	at, bit = int(variable)/32, 31-int(variable)%32
	if at >= OffsetIP/4 && c.little {
		at ^= 1
	}
	return at, bit
}

func (c *Scope) fix(at int, value uint32) { c.fixed[at], c.data[at] = true, value }

// Fix leaves only the calls with this argument. It must be called before the scope is used.
func (c *Scope) Fix(argument int, value uint64) {
	c.fix(c.half(argument, true), uint32(value>>32))
	c.fix(c.half(argument, false), uint32(value))
}

// Fit leaves only the calls that pass no more than 32 bits in an argument. It must be called
// before the scope is used.
func (c *Scope) Fit(argument int) { c.fix(c.half(argument, true), 0) }

// word returns the result of loading a word of struct seccomp_data.
func (c *Scope) word(at int) word {
	if c.fixed[at] {
		return word{number: c.data[at]}
	}
	if c.open[at] == nil {
		var all [32]node
		for bit := range all {
			all[bit] = c.solver.decide(c.variable(at, bit), nothing, everything)
		}
		c.open[at] = &all
	}
	return word{bits: c.open[at]}
}

// argument returns the bits of an argument, the least significant first.
func (c *Scope) argument(index int) []node {
	low, high := c.word(c.half(index, false)).expanded(), c.word(c.half(index, true)).expanded()
	return append(low[:], high[:]...)
}

// oneOf returns the calls in which a word has one of the values, which it sorts.
func (c *Scope) oneOf(at int, values []uint32) node {
	slices.Sort(values)
	var choose func(bit int, values []uint32) node
	choose = func(bit int, values []uint32) node {
		switch {
		case len(values) == 0:
			return nothing
		case bit < 0:
			return everything
		}
		i := slices.IndexFunc(values, func(v uint32) bool { return v>>bit&1 == 1 })
		if i < 0 {
			i = len(values)
		}
		return c.solver.decide(c.variable(at, bit), choose(bit-1, values[:i]), choose(bit-1, values[i:]))
	}
	return choose(31, values)
}

// All returns the set of all calls of the scope.
func (c *Scope) All() Set { return Set{c, c.all} }

// None returns the empty set.
func (c *Scope) None() Set { return Set{c, nothing} }

// Equal returns the calls whose argument, under a mask, has a value.
func (c *Scope) Equal(argument int, mask, value uint64) Set {
	all := slices.Clone(c.argument(argument))
	for bit := range all {
		if mask>>bit&1 == 0 {
			all[bit] = nothing
		}
	}
	return Set{c, c.solver.and(c.all, c.solver.equal(all, value))}
}

// Above returns the calls whose argument is more than a value.
func (c *Scope) Above(argument int, value uint64) Set {
	return Set{c, c.solver.and(c.all, c.solver.above(c.argument(argument), value, false))}
}

// Set is an exact set of calls of one scope. It is valid within one question.
type Set struct {
	scope *Scope
	node  node
}

// And returns the calls that are in both sets.
func (s Set) And(o Set) Set { return Set{s.scope, s.scope.solver.and(s.node, o.node)} }

// Or returns the calls that are in at least one of the sets.
func (s Set) Or(o Set) Set { return Set{s.scope, s.scope.solver.or(s.node, o.node)} }

// Minus returns the calls that are not in the other set.
func (s Set) Minus(o Set) Set { return Set{s.scope, s.scope.solver.ite(o.node, nothing, s.node)} }

// Empty reports whether there is no call in the set. The answer is a proof.
func (s Set) Empty() bool { return s.node == nothing }

// Whole reports whether all calls of the scope are in the set.
func (s Set) Whole() bool { return s.node == s.scope.all }

// Least returns the least call of the set, which must not be empty: calls are ordered by
// number, architecture, instruction pointer, then the arguments.
func (s Set) Least() Call {
	data := s.scope.data
	s.scope.solver.least(s.node, func(variable int32) {
		at, bit := s.scope.place(variable)
		data[at] |= 1 << bit
	})
	return s.scope.call(data)
}

// call returns the call that the words of a struct seccomp_data describe.
func (c *Scope) call(data [wordCount]uint32) Call {
	pair := func(at int) uint64 {
		if c.little {
			return uint64(data[at+1])<<32 | uint64(data[at])
		}
		return uint64(data[at])<<32 | uint64(data[at+1])
	}
	call := Call{Nr: data[OffsetNr/4], Arch: data[OffsetArch/4], IP: pair(OffsetIP / 4)}
	for i := range call.Args {
		call.Args[i] = pair(OffsetArgs/4 + 2*i)
	}
	return call
}

// Has reports whether a call of the scope is in the set.
func (s Set) Has(call Call) bool {
	c := s.scope
	data := [wordCount]uint32{OffsetNr / 4: call.Nr, OffsetArch / 4: call.Arch}
	for i, v := range append([]uint64{call.IP}, call.Args[:]...) {
		c.put(&data, OffsetIP/4+2*i, v)
	}
	for at := range data {
		if c.fixed[at] && data[at] != c.data[at] {
			return false
		}
	}
	return c.solver.member(s.node, func(variable int32) bool {
		at, bit := c.place(variable)
		return data[at]>>bit&1 == 1
	})
}

func (c *Scope) put(data *[wordCount]uint32, at int, v uint64) {
	data[at], data[at+1] = uint32(v), uint32(v>>32)
	if !c.little {
		data[at], data[at+1] = data[at+1], data[at]
	}
}

// Arguments returns how many arguments decide whether a call is in the set: one more than the
// highest index of such an argument, or 0.
func (s Set) Arguments() int {
	at, _ := s.scope.place(max(s.scope.solver.last(s.node), 0))
	return max(at-OffsetArgs/4+2, 0) / 2
}
