package seccomp

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Policy is a profile resolved for a target.
type Policy struct {
	Profile *Profile
	Target  Target

	// Seccomp is the flat form of the OCI runtime specification: the rules that apply
	// to this target, in the profile's order, as moby's resolver returns them.
	Seccomp *specs.LinuxSeccomp
	// Origin has for each of Seccomp.Syscalls the index of its rule in Profile.Rules.
	Origin []int
	// Decisions has one element for each rule of the profile.
	Decisions []Decision
}

// RulePosition returns the position of the rule that Seccomp.Syscalls[i] comes from.
func (p *Policy) RulePosition(i int) Position { return p.Profile.Rules[p.Origin[i]].Pos }

// CheckNotify returns an error if the policy has SCMP_ACT_NOTIFY and the profile has no
// listenerPath, the socket of the agent that decides, or if it has no such action but the
// flag SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (EINVAL of seccomp(2)). The error is a
// [*Problem].
func (p *Policy) CheckNotify() error {
	const flag = specs.LinuxSeccompFlagWaitKillableRecv
	at := slices.IndexFunc(p.Profile.Flags, func(f Name) bool { return f.Value == string(flag) })
	pos, notifies := p.Notifies()
	switch {
	case notifies && p.Profile.ListenerPath.Value == "":
		return &Problem{Pos: pos, Message: "SCMP_ACT_NOTIFY needs listenerPath, the socket of the agent that decides", Fix: "add listenerPath to the profile, or use SCMP_ACT_ERRNO or SCMP_ACT_LOG"}
	case !notifies && at >= 0:
		return &Problem{Pos: p.Profile.Flags[at].Pos, Message: string(flag) + " is for SCMP_ACT_NOTIFY, which no rule has: the kernel refuses it", Fix: "remove the flag"}
	}
	return nil
}

// Notifies returns the position of the first SCMP_ACT_NOTIFY, with which an agent decides:
// of a rule that applies, or else of the default action. ok is false without one.
func (p *Policy) Notifies() (pos Position, ok bool) {
	for i, s := range p.Seccomp.Syscalls {
		if s.Action == specs.ActNotify {
			return p.Profile.Rules[p.Origin[i]].ActionPos, true
		}
	}
	return p.Profile.DefaultActionPos, p.Seccomp.DefaultAction == specs.ActNotify
}

// Decision says whether a rule applies to a target, and why not.
type Decision struct {
	Kept   bool
	Reason Reason
	By     Name // the architecture, capability or kernel that decided; zero when Kept
}

// Reason is the kind of condition that left a rule out.
type Reason string

// The reasons.
const (
	Kept           Reason = ""
	NoNames        Reason = "names" // the rule names no call
	ExcludedArch   Reason = "excludes.arches"
	ExcludedCap    Reason = "excludes.caps"
	ExcludedKernel Reason = "excludes.minKernel"
	MissingArch    Reason = "includes.arches"
	MissingCap     Reason = "includes.caps"
	MissingKernel  Reason = "includes.minKernel"
)

// Resolve returns the rules that apply to a target. A rule does not apply when its
// excludes list the architecture, any of the capabilities, or a minKernel that the target
// has reached. Otherwise it applies when its includes list the architecture or none, the
// target has all of their capabilities, and the kernel has reached their minKernel. Two
// calls with equal arguments return equal policies.
func (p *Profile) Resolve(t Target) (*Policy, error) {
	flat := &specs.LinuxSeccomp{
		DefaultAction:    p.DefaultAction,
		DefaultErrnoRet:  p.DefaultErrnoRet,
		Architectures:    p.architectures(t),
		ListenerPath:     p.ListenerPath.Value,
		ListenerMetadata: p.ListenerMetadata,
	}
	if p.Flags != nil {
		flat.Flags = []specs.LinuxSeccompFlag{}
		for _, f := range p.Flags {
			flat.Flags = append(flat.Flags, specs.LinuxSeccompFlag(f.Value))
		}
	}
	policy := &Policy{Profile: p, Target: t, Seccomp: flat, Decisions: make([]Decision, len(p.Rules))}
	for i := range p.Rules {
		rule := &p.Rules[i]
		d, err := rule.decide(t)
		if err != nil {
			return nil, err
		}
		policy.Decisions[i] = d
		if d.Kept {
			flat.Syscalls = append(flat.Syscalls, rule.flat())
			policy.Origin = append(policy.Origin, i)
		}
	}
	return policy, nil
}

// architectures returns the architectures that the profile lists, or those of the archMap
// element for the target's.
func (p *Profile) architectures(t Target) []specs.Arch {
	var arches []specs.Arch
	for _, a := range p.Architectures {
		arches = append(arches, specs.Arch(a.Value))
	}
	for _, m := range p.ArchMap {
		if m.Architecture.Value != t.Arch.OCI() {
			continue
		}
		arches = append(arches, specs.Arch(m.Architecture.Value))
		for _, sub := range m.SubArchitectures {
			arches = append(arches, specs.Arch(sub.Value))
		}
		break
	}
	return arches
}

func (r *Rule) decide(t Target) (Decision, error) {
	arch := t.Arch.String()
	has := func(c Name) bool { return slices.Contains(t.Capabilities, c.Value) }
	is := func(a Name) bool { return a.Value == arch }
	lacks := func(c Name) bool { return !has(c) }

	if len(r.Names) == 0 {
		return Decision{Reason: NoNames}, nil
	}
	if i := slices.IndexFunc(r.Excludes.Arches, is); i >= 0 {
		return Decision{Reason: ExcludedArch, By: r.Excludes.Arches[i]}, nil
	}
	if i := slices.IndexFunc(r.Excludes.Caps, has); i >= 0 {
		return Decision{Reason: ExcludedCap, By: r.Excludes.Caps[i]}, nil
	}
	if recent, err := r.Excludes.kernel(t, false); err != nil || recent {
		return Decision{Reason: ExcludedKernel, By: r.Excludes.MinKernel}, err
	}
	if len(r.Includes.Arches) > 0 && !slices.ContainsFunc(r.Includes.Arches, is) {
		return Decision{Reason: MissingArch, By: r.Includes.Arches[0]}, nil
	}
	if i := slices.IndexFunc(r.Includes.Caps, lacks); i >= 0 {
		return Decision{Reason: MissingCap, By: r.Includes.Caps[i]}, nil
	}
	if recent, err := r.Includes.kernel(t, true); err != nil || !recent {
		return Decision{Reason: MissingKernel, By: r.Includes.MinKernel}, err
	}
	return Decision{Kept: true}, nil
}

// kernel reports whether the target's kernel is minKernel or later. It returns without if the
// filter has no minKernel.
func (f *Filter) kernel(t Target, without bool) (bool, error) {
	if f.MinKernel.Value == "" {
		return without, nil
	}
	required, err := ParseKernel(f.MinKernel.Value)
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.MinKernel.Pos, err)
	}
	return t.Kernel.AtLeast(required), nil
}

func (r *Rule) flat() specs.LinuxSyscall {
	s := specs.LinuxSyscall{Action: r.Action, ErrnoRet: r.ErrnoRet}
	for _, n := range r.Names {
		s.Names = append(s.Names, n.Value)
	}
	for _, a := range r.Args {
		s.Args = append(s.Args, specs.LinuxSeccompArg{Index: a.Index, Value: a.Value, ValueTwo: a.ValueTwo, Op: a.Op})
	}
	return s
}
