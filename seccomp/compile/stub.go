package compile

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

// stub returns the instructions in front of libseccomp's program. They decide on three kinds
// of calls, and leave all others to the program:
//
//   - A call with a number above the largest that the list names gets ENOSYS, as from
//     Docker's runtime, so that programs fall back from calls that are newer than the
//     profile; unless the default action lets calls through or asks an agent.
//   - A call of c.arch that the list names and libseccomp is too old to know gets the action
//     of its rule.
//   - A call with any of the upper 32 bits set in an argument that a rule compares and that
//     the kernel reads as an int gets the default action. The filter sees 64 bits, so the
//     call would bypass the rule. If the default action lets calls through, the call gets
//     the action of the first rule that does not.
//
// Docker's runtime has the first kind only.
func (c *compiler) stub() ([]unix.SockFilter, error) {
	groups, err := c.horizons()
	if err != nil {
		return nil, err
	}
	effective, err := c.effective()
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
		if g.audit == c.arch.Audit() {
			// In this order, since calls that libseccomp does not know can have such arguments.
			if err := c.truncatedArguments(a, effective); err != nil {
				return nil, err
			}
			if err := c.unknownCalls(a, effective); err != nil {
				return nil, err
			}
		}
		if !actions.Open(c.list.DefaultAction) {
			g.assemble(a, filter)
		} else {
			a.goTo(filter)
		}
		a.place(next)
	}
	a.place(filter)
	return a.program()
}

// effective returns the rules that differ from the default. Docker's runtime skips
// the others.
func (c *compiler) effective() ([]specs.LinuxSyscall, error) {
	byDefault, err := actions.ReturnValue(c.list.DefaultAction, c.list.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	var rules []specs.LinuxSyscall
	for _, s := range c.list.Syscalls {
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

// horizon has the largest number for each of the architectures that share an AUDIT_ARCH:
// x86_64 and x32, elsewhere one.
type horizon struct {
	audit    uint32
	numbers  map[bool]uint32 // true: for x32
	setupNr0 bool            // s390: call 0 stands for calls without a number
}

// horizons returns the largest numbers of the list's names, for c.arch and the list's
// architectures.
func (c *compiler) horizons() ([]*horizon, error) {
	var groups []*horizon
	arches := append([]specs.Arch{specs.Arch(c.arch.OCI())}, c.list.Architectures...)
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
		if largest := c.largest(arch); largest > 0 {
			groups[i].numbers[x32] = uint32(largest)
		}
	}
	return groups, nil
}

func (c *compiler) largest(arch libseccomp.ScmpArch) libseccomp.ScmpSyscall {
	var largest libseccomp.ScmpSyscall
	for _, s := range c.list.Syscalls {
		largest = max(largest, largestNumber(arch, s.Names))
	}
	return largest
}

// assemble adds instructions that return ENOSYS for calls beyond the horizon. The call's
// number has been loaded.
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

// unknownCalls adds instructions that decide on the calls whose names libseccomp does not
// know. As in libseccomp, the first unconditional rule wins over all others.
func (c *compiler) unknownCalls(a *assembler, effective []specs.LinuxSyscall) error {
	for _, call := range c.unknownNames(effective) {
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
					a.compare(arg, bpf.ByteOrder(c.arch) == binary.LittleEndian, fail)
				}
				a.ret(value)
				a.place(fail)
			}
		}
		if last := call.rules[len(call.rules)-1]; len(last.Args) > 0 {
			value, err := actions.ReturnValue(c.list.DefaultAction, c.list.DefaultErrnoRet)
			if err != nil {
				return err
			}
			a.ret(value)
		}
		a.place(next)
	}
	return nil
}

// unknownCall is a call that minirun's own table has and libseccomp does not know.
type unknownCall struct {
	nr    uint32
	rules []specs.LinuxSyscall // one unconditional rule, or only conditional ones
}

func (c *compiler) unknownNames(effective []specs.LinuxSyscall) []*unknownCall {
	var calls []*unknownCall
	for _, s := range effective {
		for _, name := range s.Names {
			if _, err := libseccomp.GetSyscallFromName(name); err == nil {
				continue
			}
			nr, ok := syscalls.Number(c.arch, name)
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
	case len(c.rules) == 1 && len(c.rules[0].Args) == 0: // already decided
	case len(rule.Args) == 0:
		c.rules = []specs.LinuxSyscall{rule}
	default:
		c.rules = append(c.rules, rule)
	}
}

// argument is an argument that the kernel reads as an int.
type argument struct {
	nr    uint32
	index uint
}

// truncatedArguments adds instructions that decide on calls with more bits in a compared
// argument than the kernel reads.
func (c *compiler) truncatedArguments(a *assembler, effective []specs.LinuxSyscall) error {
	arguments, rules := c.comparedInts(effective)
	little := bpf.ByteOrder(c.arch) == binary.LittleEndian
	for _, at := range arguments {
		verdict, err := c.strictVerdict(rules[at])
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

// comparedInts returns the int arguments on which verdicts depend, and for each the first of
// its rules that does not let calls through, else the first. A call with an unconditional
// rule does not depend on arguments.
func (c *compiler) comparedInts(effective []specs.LinuxSyscall) ([]argument, map[argument]specs.LinuxSyscall) {
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
			nr, ok := syscalls.Number(c.arch, name)
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

// strictVerdict returns the value of the default action, or of the rule's action if the
// default lets calls through.
func (c *compiler) strictVerdict(s specs.LinuxSyscall) (uint32, error) {
	if actions.Passes(c.list.DefaultAction) {
		return actions.ReturnValue(s.Action, s.ErrnoRet)
	}
	return actions.ReturnValue(c.list.DefaultAction, c.list.DefaultErrnoRet)
}
