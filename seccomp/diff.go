package seccomp

import (
	"fmt"
	"slices"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Difference is a call that two programs treat differently, with an example of
// the arguments for which they do.
type Difference struct {
	Arch    string `json:"arch"`
	Call    string `json:"call"`
	Example string `json:"example,omitempty"` // the call with arguments, when they matter
	A       string `json:"a"`                 // verdicts
	B       string `json:"b"`
}

// Diff compares what two policies come to, which are for the same target.
func Diff(a, b *Policy) ([]Difference, error) {
	pa, err := a.Compile()
	if err != nil {
		return nil, err
	}
	pb, err := b.Compile()
	if err != nil {
		return nil, err
	}
	return Compare(pa, pb)
}

// Compare runs two programs on every call of every architecture that they tell
// apart, with arguments at the edges of what they compare them with, and on a
// number that no call has. For a call it gives one difference for each pair of
// verdicts.
func Compare(a, b *bpf.Program) ([]Difference, error) {
	ea, err := a.Emulator()
	if err != nil {
		return nil, err
	}
	eb, err := b.Emulator()
	if err != nil {
		return nil, err
	}
	var all []Difference
	for _, arch := range bpf.Arches(a, b) {
		for _, name := range append(syscalls.Calls(arch), "") {
			call, ok := bpf.NewCall(arch, name)
			if !ok {
				name, call = "a call of the future", futureCall(arch)
			}
			edges, err := edgesOf(call, a, b)
			if err != nil {
				return nil, err
			}
			found, err := compareCall(Difference{Arch: arch.String(), Call: name}, call, edges, ea, eb)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// beyond is a number that no architecture has a call for.
const beyond = 0x0fff_ffff

func futureCall(arch syscalls.Arch) bpf.Call {
	c := bpf.Call{Nr: beyond, Arch: arch.Audit()}
	if arch == syscalls.X32 {
		c.Nr |= bpf.X32Bit
	}
	return c
}

// compareCall completes d for each pair of verdicts that the call gets.
func compareCall(d Difference, call bpf.Call, e *edges, ea, eb *bpf.Emulator) ([]Difference, error) {
	var found []Difference
	for _, args := range e.samples() {
		call.Args = args
		va, err := ea.Run(call)
		if err != nil {
			return nil, err
		}
		vb, err := eb.Run(call)
		if err != nil {
			return nil, err
		}
		if va == vb {
			continue
		}
		d.A, d.B = va.String(), vb.String()
		if slices.ContainsFunc(found, func(o Difference) bool { return o.A == d.A && o.B == d.B }) {
			continue
		}
		if n := e.arguments(); n > 0 {
			d.Example = CallPattern{Name: d.Call, Args: args, Given: n}.String()
		}
		found = append(found, d)
	}
	return found, nil
}

func (d Difference) String() string {
	call := d.Call
	if d.Example != "" {
		call = d.Example
	}
	return fmt.Sprintf("%s %s: %s, %s", d.Arch, call, d.A, d.B)
}
