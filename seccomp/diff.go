package seccomp

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

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
	return Compare(a, pa, b, pb)
}

// Compare runs two programs on every call of every architecture that the
// policies are for, with arguments at the edges of what the rules of both look
// at, and on a number that no call has. For a call it gives one difference for
// each pair of verdicts.
func Compare(a *Policy, pa *Program, b *Policy, pb *Program) ([]Difference, error) {
	ea, err := pa.Emulator()
	if err != nil {
		return nil, err
	}
	eb, err := pb.Emulator()
	if err != nil {
		return nil, err
	}
	var all []Difference
	for _, arch := range archesOf(a, b) {
		for _, name := range append(syscalls.Calls(arch), "") {
			found, err := compareCall(arch, name, append(a.edges(name), b.edges(name)...), ea, eb)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// archesOf are the target's architecture and those that either policy lists.
func archesOf(a, b *Policy) []syscalls.Arch {
	all := []syscalls.Arch{a.Target.Arch}
	for _, oci := range append(slices.Clone(a.Seccomp.Architectures), b.Seccomp.Architectures...) {
		if arch, ok := syscalls.ParseArch(string(oci)); ok && !slices.Contains(all, arch) {
			all = append(all, arch)
		}
	}
	return all
}

// edges are the conditions that decide over a call. The multiplexers socketcall(2)
// and ipc(2) have those of the calls behind them too, whose numbers, at most 24
// (linux/net.h, linux/ipc.h), are then their first argument.
func (p *Policy) edges(name string) []condition {
	all := p.conditions(name)
	group, ok := map[string]string{"socketcall": "@network-io", "ipc": "@ipc"}[name]
	if !ok {
		return all
	}
	calls, _ := syscalls.Group(group)
	for _, call := range calls {
		for _, c := range p.conditions(call) {
			c.args = slices.DeleteFunc(slices.Clone(c.args), func(a specs.LinuxSeccompArg) bool { return a.Index == 0 })
			all = append(all, c)
		}
	}
	for number := range uint64(25) {
		all = append(all, condition{args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: number}}})
	}
	return all
}

// beyond is a number that no architecture has a call for.
const beyond = 0x0fff_ffff

func compareCall(arch syscalls.Arch, name string, conditions []condition, ea, eb *Emulator) ([]Difference, error) {
	pattern := CallPattern{Name: name}
	call, ok := NewCall(arch, name)
	if !ok {
		call = Call{Nr: beyond, Arch: arch.Audit()}
		pattern.Name = "a call of the future"
		if arch == syscalls.X32 {
			call.Nr |= x32Bit
		}
	}
	var found []Difference
	for _, args := range samples(conditions) {
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
		d := Difference{Arch: arch.String(), Call: pattern.Name, A: va.String(), B: vb.String()}
		if slices.ContainsFunc(found, func(o Difference) bool { return o.A == d.A && o.B == d.B }) {
			continue
		}
		if len(conditions) > 0 {
			pattern.Args, pattern.Given = args, 1+lastIndex(conditions)
			d.Example = pattern.String()
		}
		found = append(found, d)
	}
	return found, nil
}

func lastIndex(conditions []condition) int {
	last := 0
	for _, c := range conditions {
		for _, a := range c.args {
			last = max(last, int(a.Index))
		}
	}
	return last
}

func (d Difference) String() string {
	call := d.Call
	if d.Example != "" {
		call = d.Example
	}
	return fmt.Sprintf("%s %s: %s, %s", d.Arch, call, d.A, d.B)
}
