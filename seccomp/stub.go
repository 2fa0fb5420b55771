package seccomp

import (
	"encoding/binary"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/actions"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// stub makes what stands in front of libseccomp's program. It decides three
// kinds of calls and lets all others through to the program:
//
//   - a call above the largest one that the profile names gets ENOSYS, as
//     Docker's runtime has it, so that programs fall back from calls that are
//     newer than the profile. Not when the default action lets calls through;
//   - a call of the target's own architecture which the profile names and
//     libseccomp is too old to know gets what its rule says;
//   - a call with an argument that the kernel reads as a 32-bit int and a rule
//     compares, but with some of the upper 32 bits set, gets the default action:
//     the filter sees 64 bits, the kernel would not, and the rule could be
//     passed by. When the default lets calls through it gets the action of the
//     first rule that does not.
//
// Docker's runtime has the first kind only.
func (p *Policy) stub() ([]unix.SockFilter, error) {
	groups, err := p.horizons()
	if err != nil {
		return nil, err
	}
	effective, err := p.effective()
	if err != nil {
		return nil, err
	}
	a := &assembler{}
	filter := a.label()
	a.load(bpf.OffsetArch)
	for _, g := range groups {
		next, here := a.label(), a.label()
		a.jump(unix.BPF_JEQ, g.audit, here, none)
		a.goTo(next)
		a.place(here)
		a.load(bpf.OffsetNr)
		if g.audit == p.Target.Arch.Audit() {
			// In this order: what libseccomp does not know has such arguments too.
			if err := p.truncatedArguments(a, effective); err != nil {
				return nil, err
			}
			if err := p.unknownCalls(a, effective); err != nil {
				return nil, err
			}
		}
		if !actions.Passes(p.Seccomp.DefaultAction) {
			g.assemble(a, filter)
		} else {
			a.goTo(filter)
		}
		a.place(next)
	}
	a.place(filter)
	return a.program()
}

// effective are the rules that differ from the default. Docker's runtime skips
// the others.
func (p *Policy) effective() ([]specs.LinuxSyscall, error) {
	byDefault, err := actions.ReturnValue(p.Seccomp.DefaultAction, p.Seccomp.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	var rules []specs.LinuxSyscall
	for _, s := range p.Seccomp.Syscalls {
		value, err := actions.ReturnValue(s.Action, s.ErrnoRet)
		if err != nil {
			return nil, err
		}
		if value != byDefault {
			rules = append(rules, s)
		}
	}
	return rules, nil
}

// horizon is the largest number of each of the architectures that share an
// AUDIT_ARCH: x86_64 and x32, elsewhere one.
type horizon struct {
	audit    uint32
	numbers  map[bool]uint32 // by whether it is x32's
	setupNr0 bool            // s390: call 0 stands for those that have no number of their own
}

// horizons finds what libseccomp knows of the profile's names, for the target's
// architecture and the policy's.
func (p *Policy) horizons() ([]*horizon, error) {
	var groups []*horizon
	arches := append([]specs.Arch{specs.Arch(p.Target.Arch.OCI())}, p.Seccomp.Architectures...)
	for _, oci := range arches {
		arch, err := scmpArch(string(oci))
		if err != nil {
			return nil, err
		}
		a, _ := syscalls.ParseArch(string(oci))
		i := slices.IndexFunc(groups, func(g *horizon) bool { return g.audit == a.Audit() })
		if i < 0 {
			i = len(groups)
			s390 := a.String() == "s390" || a.String() == "s390x"
			groups = append(groups, &horizon{audit: a.Audit(), numbers: map[bool]uint32{}, setupNr0: s390})
		}
		x32 := a.String() == "x32"
		if _, done := groups[i].numbers[x32]; done {
			continue
		}
		if largest := p.largest(arch); largest > 0 {
			groups[i].numbers[x32] = uint32(largest)
		}
	}
	return groups, nil
}

func (p *Policy) largest(arch libseccomp.ScmpArch) libseccomp.ScmpSyscall {
	var largest libseccomp.ScmpSyscall // what is not there on an architecture has a number below 0
	for _, s := range p.Seccomp.Syscalls {
		for _, name := range s.Names {
			if nr, err := libseccomp.GetSyscallFromNameByArch(name, arch); err == nil {
				largest = max(largest, nr)
			}
		}
	}
	return largest
}

// assemble gives ENOSYS to what is beyond the horizon. The number is loaded.
func (h *horizon) assemble(a *assembler, filter label) {
	enosys, x32 := a.label(), a.label()
	if h.setupNr0 && len(h.numbers) > 0 {
		a.jump(unix.BPF_JEQ, 0, enosys, none)
	}
	native, hasNative := h.numbers[false]
	other, hasX32 := h.numbers[true]
	if h.audit == unix.AUDIT_ARCH_X86_64 {
		a.jump(unix.BPF_JSET, bpf.X32Bit, x32, none)
	}
	if hasNative {
		a.jump(unix.BPF_JGT, native, enosys, none)
	}
	a.goTo(filter)
	if h.audit == unix.AUDIT_ARCH_X86_64 {
		a.place(x32)
		if hasX32 {
			a.jump(unix.BPF_JGT, other, enosys, none)
		}
		a.goTo(filter)
	}
	a.place(enosys)
	a.ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
}

// unknownCalls decides the calls that libseccomp does not know by name. As in
// libseccomp the first unconditional rule wins over all others.
func (p *Policy) unknownCalls(a *assembler, effective []specs.LinuxSyscall) error {
	for _, call := range p.unknownNames(effective) {
		next := a.label()
		a.jump(unix.BPF_JEQ, call.nr, none, next)
		for _, rule := range call.rules {
			value, err := actions.ReturnValue(rule.Action, rule.ErrnoRet)
			if err != nil {
				return err
			}
			if len(rule.Args) == 0 {
				a.ret(value)
				break
			}
			for _, group := range actions.Alternatives(rule.Args) {
				fail := a.label()
				for _, arg := range group {
					a.compare(arg, bpf.ByteOrder(p.Target.Arch) == binary.LittleEndian, fail)
				}
				a.ret(value)
				a.place(fail)
			}
		}
		if last := call.rules[len(call.rules)-1]; len(last.Args) > 0 {
			value, err := actions.ReturnValue(p.Seccomp.DefaultAction, p.Seccomp.DefaultErrnoRet)
			if err != nil {
				return err
			}
			a.ret(value)
		}
		a.place(next)
	}
	return nil
}

// unknownCall is a call that only minirun's own table has.
type unknownCall struct {
	nr    uint32
	rules []specs.LinuxSyscall // an unconditional one stands alone
}

func (p *Policy) unknownNames(effective []specs.LinuxSyscall) []*unknownCall {
	var calls []*unknownCall
	for _, s := range effective {
		for _, name := range s.Names {
			if _, err := libseccomp.GetSyscallFromName(name); err == nil {
				continue
			}
			nr, ok := syscalls.Number(p.Target.Arch, name)
			if !ok {
				continue
			}
			i := slices.IndexFunc(calls, func(c *unknownCall) bool { return c.nr == nr })
			if i < 0 {
				i = len(calls)
				calls = append(calls, &unknownCall{nr: nr})
			}
			calls[i].add(s)
		}
	}
	return calls
}

func (c *unknownCall) add(rule specs.LinuxSyscall) {
	switch {
	case len(c.rules) == 1 && len(c.rules[0].Args) == 0: // decided
	case len(rule.Args) == 0:
		c.rules = []specs.LinuxSyscall{rule}
	default:
		c.rules = append(c.rules, rule)
	}
}

// argument is one that the kernel reads as an int.
type argument struct {
	nr    uint32
	index uint
}

// truncatedArguments refuses calls that a rule compares in more bits than the
// kernel reads.
func (p *Policy) truncatedArguments(a *assembler, effective []specs.LinuxSyscall) error {
	arguments, rules := p.comparedInts(effective)
	little := bpf.ByteOrder(p.Target.Arch) == binary.LittleEndian
	for _, at := range arguments {
		verdict, err := p.strictVerdict(rules[at])
		if err != nil {
			return err
		}
		next, fits := a.label(), a.label()
		a.jump(unix.BPF_JEQ, at.nr, none, next)
		a.load(high(at.index, little))
		a.jump(unix.BPF_JEQ, 0, fits, none)
		a.ret(verdict)
		a.place(fits)
		a.load(bpf.OffsetNr)
		a.place(next)
	}
	return nil
}

// comparedInts finds the int arguments on which verdicts depend, and for each
// the strictest of its rules: the first that does not let calls through, if any.
// A call that has an unconditional rule depends on no argument.
func (p *Policy) comparedInts(effective []specs.LinuxSyscall) ([]argument, map[argument]specs.LinuxSyscall) {
	decided := map[string]bool{}
	for _, s := range effective {
		for _, name := range s.Names {
			decided[name] = decided[name] || len(s.Args) == 0
		}
	}
	var inOrder []argument
	rules := map[argument]specs.LinuxSyscall{}
	for _, s := range effective {
		for _, name := range s.Names {
			nr, ok := syscalls.Number(p.Target.Arch, name)
			if !ok || decided[name] {
				continue
			}
			for _, arg := range s.Args {
				if syscalls.Int32Args(name)&(1<<arg.Index) == 0 {
					continue
				}
				at := argument{nr, arg.Index}
				rule, done := rules[at]
				if !done {
					inOrder = append(inOrder, at)
				}
				if !done || actions.Passes(rule.Action) && !actions.Passes(s.Action) {
					rules[at] = s
				}
			}
		}
	}
	return inOrder, rules
}

// strictVerdict is the default action's, or when that lets calls through the
// rule's own.
func (p *Policy) strictVerdict(s specs.LinuxSyscall) (uint32, error) {
	if actions.Passes(p.Seccomp.DefaultAction) {
		return actions.ReturnValue(s.Action, s.ErrnoRet)
	}
	return actions.ReturnValue(p.Seccomp.DefaultAction, p.Seccomp.DefaultErrnoRet)
}
