package compile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/actions"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Origin returns the position of the rule that became Syscalls[i] of a list. It is used in
// errors only. [seccomp.Policy.RulePosition] is one.
type Origin func(i int) seccomp.Position

// compiler compiles one list.
type compiler struct {
	arch   syscalls.Arch
	list   *specs.LinuxSeccomp
	origin Origin
}

// newCompiler returns an error for lists that the parser of profiles refuses, too.
func newCompiler(arch syscalls.Arch, list *specs.LinuxSeccomp, origin Origin) (*compiler, error) {
	c := &compiler{arch, list, origin}
	if e := list.DefaultErrnoRet; e != nil && *e > math.MaxUint16 { // SECCOMP_RET_DATA
		return nil, fmt.Errorf("default errno %d: a filter returns 16 bits", *e)
	}
	for i, s := range list.Syscalls {
		if s.ErrnoRet != nil && *s.ErrnoRet > math.MaxUint16 { // SECCOMP_RET_DATA
			return nil, &seccomp.Problem{Pos: c.position(i), Message: fmt.Sprintf("errno %d: a filter returns 16 bits", *s.ErrnoRet)}
		}
		for _, a := range s.Args {
			switch {
			case a.Index >= 6:
				return nil, &seccomp.Problem{Pos: c.position(i), Message: fmt.Sprintf("argument index %d: a system call has six arguments, from 0", a.Index)}
			case scmpOperator(a.Op) == libseccomp.CompareInvalid:
				return nil, &seccomp.Problem{Pos: c.position(i), Message: fmt.Sprintf("unknown operator %q", a.Op)}
			}
		}
	}
	return c, nil
}

// position returns the position of a rule, or its place in the list if that is not known.
func (c *compiler) position(i int) seccomp.Position {
	if c.origin != nil {
		return c.origin(i)
	}
	return seccomp.Position{File: fmt.Sprintf("syscalls[%d]", i)}
}

// Compile returns the program that Docker's runtime would install for a list on a machine
// of an architecture, with minirun's additions in front; see the package's documentation.
// The program also decides on the calls of list.Architectures. The order of the rules
// counts. origin may be nil.
//
// An error about one rule is a [*seccomp.Problem] or starts with the rule's position. list is
// only read.
func Compile(arch syscalls.Arch, list *specs.LinuxSeccomp, origin Origin) (*bpf.Program, error) {
	c, err := newCompiler(arch, list, origin)
	if err != nil {
		return nil, err
	}
	return c.compile()
}

func (c *compiler) compile() (*bpf.Program, error) {
	filter, err := c.filter()
	if err != nil {
		return nil, err
	}
	defer filter.Release()
	body, err := export(filter.ExportBPF, bpf.ByteOrder(c.arch))
	if err != nil {
		return nil, fmt.Errorf("export the filter: %w", err)
	}
	if err := c.correctReturns(body); err != nil {
		return nil, err
	}
	head, err := c.stub()
	if err != nil {
		return nil, err
	}
	program := &bpf.Program{Arch: c.arch, Instructions: append(head, body...)}
	if program.Flags, err = flagBits(c.list.Flags); err != nil {
		return nil, err
	}
	program.Listener = c.list.DefaultAction == specs.ActNotify ||
		slices.ContainsFunc(c.list.Syscalls, func(s specs.LinuxSyscall) bool { return s.Action == specs.ActNotify })
	if n := len(program.Instructions); n > unix.BPF_MAXINSNS {
		err := fmt.Errorf("the filter has %d instructions, the kernel takes %d", n, unix.BPF_MAXINSNS)
		if c.origin != nil {
			err = fmt.Errorf("%s: %w", c.origin(0).File, err)
		}
		return nil, err
	}
	return program, nil
}

// correctReturns corrects a bug of libseccomp 2.5.4 in long filters for the other byte order:
// a return that is repeated, to be in reach of a jump, has its bytes swapped once too often.
// Such a return is recognized by its value, which the list does not have.
func (c *compiler) correctReturns(body []unix.SockFilter) error {
	returned := map[uint32]bool{unix.SECCOMP_RET_KILL_THREAD: true} // for other architectures
	for _, s := range append([]specs.LinuxSyscall{{Action: c.list.DefaultAction, ErrnoRet: c.list.DefaultErrnoRet}}, c.list.Syscalls...) {
		value, err := actions.ReturnValue(s.Action, s.ErrnoRet)
		if err != nil {
			return err
		}
		returned[value] = true
	}
	for i, insn := range body {
		swapped := bits.ReverseBytes32(insn.K)
		if insn.Code == unix.BPF_RET|unix.BPF_K && !returned[insn.K] && returned[swapped] {
			body[i].K = swapped
		}
	}
	return nil
}

// PFC returns libseccomp's pseudo code for its part of the program, without the stub.
// The arguments are those of [Compile].
func PFC(arch syscalls.Arch, list *specs.LinuxSeccomp, origin Origin) ([]byte, error) {
	c, err := newCompiler(arch, list, origin)
	if err != nil {
		return nil, err
	}
	filter, err := c.filter()
	if err != nil {
		return nil, err
	}
	defer filter.Release()
	return exportBytes(filter.ExportPFC)
}

// filter fills a libseccomp filter with the list's rules.
func (c *compiler) filter() (*libseccomp.ScmpFilter, error) {
	defaultAction, err := scmpAction(c.list.DefaultAction, c.list.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	filter, err := libseccomp.NewFilter(defaultAction)
	if err != nil {
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	if err := c.fill(filter, defaultAction); err != nil {
		filter.Release()
		return nil, err
	}
	return filter, nil
}

func (c *compiler) fill(filter *libseccomp.ScmpFilter, defaultAction libseccomp.ScmpAction) error {
	if err := c.addArches(filter); err != nil {
		return err
	}
	// As in runc: without rules libseccomp 2.5 makes a wrong tree, and a small filter needs none.
	if c.names() > 32 {
		if err := filter.SetOptimize(2); err != nil {
			return fmt.Errorf("libseccomp: optimize: %w", err)
		}
	}
	for i, s := range c.list.Syscalls {
		action, err := scmpAction(s.Action, s.ErrnoRet)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", c.position(i), strings.Join(s.Names[:min(len(s.Names), 1)], ""), err)
		}
		if action == defaultAction {
			continue
		}
		for _, name := range s.Names {
			if err := addRule(filter, name, action, s.Args); err != nil {
				return ruleError(c.position(i), name, err)
			}
		}
	}
	return nil
}

func (c *compiler) names() int {
	n := 0
	for _, s := range c.list.Syscalls {
		n += len(s.Names)
	}
	return n
}

// addArches sets the filter's architectures to c.arch and the list's. A new filter has the
// machine's.
func (c *compiler) addArches(filter *libseccomp.ScmpFilter) error {
	target, err := scmpArch(c.arch.OCI())
	if err != nil {
		return err
	}
	native, err := libseccomp.GetNativeArch()
	if err != nil {
		return fmt.Errorf("libseccomp: %w", err)
	}
	if target != native {
		if err := filter.RemoveArch(native); err != nil {
			return fmt.Errorf("libseccomp: %w", err)
		}
		if err := filter.AddArch(target); err != nil {
			return fmt.Errorf("libseccomp: %w", err)
		}
	}
	for _, a := range c.list.Architectures {
		arch, err := scmpArch(string(a))
		if err != nil {
			return err
		}
		if err := filter.AddArch(arch); err != nil {
			return fmt.Errorf("libseccomp: architecture %s beside %s: %w", a, c.arch.OCI(), err)
		}
	}
	return nil
}

// ruleError explains why libseccomp refused a rule. EEXIST means a conflicting action. Usually
// the first of two rules for a call wins, but libseccomp refuses the second one for calls
// that are part of socketcall(2) or ipc(2) on one of the architectures.
func ruleError(pos seccomp.Position, name string, err error) error {
	if errors.Is(err, unix.EEXIST) {
		return &seccomp.Problem{Pos: pos, Message: name + ": an earlier rule has another action, and libseccomp takes no two for what is part of socketcall or ipc", Fix: "remove " + name + " from one of the two"}
	}
	return &seccomp.Problem{Pos: pos, Message: fmt.Sprintf("%s: libseccomp: %v", name, err)}
}

// addRule adds a rule for one name. A name that libseccomp does not know is left to the stub.
func addRule(filter *libseccomp.ScmpFilter, name string, action libseccomp.ScmpAction, args []specs.LinuxSeccompArg) error {
	call, err := libseccomp.GetSyscallFromName(name)
	if err != nil {
		return nil //nolint:nilerr // the only error is that it does not know the name
	}
	if len(args) == 0 {
		return filter.AddRule(call, action)
	}
	for _, group := range actions.Alternatives(args) {
		conditions := make([]libseccomp.ScmpCondition, len(group))
		for i, a := range group {
			if conditions[i], err = libseccomp.MakeCondition(a.Index, scmpOperator(a.Op), a.Value, a.ValueTwo); err != nil {
				return err
			}
		}
		if err := filter.AddRuleConditional(call, action, conditions); err != nil {
			return err
		}
	}
	return nil
}

func scmpAction(action specs.LinuxSeccompAction, errnoRet *uint) (libseccomp.ScmpAction, error) {
	value := int16(unix.EPERM)
	if errnoRet != nil {
		value = int16(*errnoRet)
	}
	if action == specs.ActErrno && value >= actions.MaxErrno { // db_action_valid, whose error would name another reason
		return libseccomp.ActInvalid, fmt.Errorf("errno %d: libseccomp takes none above %d", value, actions.MaxErrno-1)
	}
	switch action {
	case specs.ActKill, specs.ActKillThread:
		return libseccomp.ActKillThread, nil
	case specs.ActKillProcess:
		return libseccomp.ActKillProcess, nil
	case specs.ActTrap:
		return libseccomp.ActTrap, nil
	case specs.ActErrno:
		return libseccomp.ActErrno.SetReturnCode(value), nil
	case specs.ActTrace:
		return libseccomp.ActTrace.SetReturnCode(value), nil
	case specs.ActAllow:
		return libseccomp.ActAllow, nil
	case specs.ActLog:
		return libseccomp.ActLog, nil
	case specs.ActNotify:
		return libseccomp.ActNotify, nil
	}
	return libseccomp.ActInvalid, fmt.Errorf("unknown action %q", action)
}

func scmpOperator(op specs.LinuxSeccompOperator) libseccomp.ScmpCompareOp {
	switch op {
	case specs.OpNotEqual:
		return libseccomp.CompareNotEqual
	case specs.OpLessThan:
		return libseccomp.CompareLess
	case specs.OpLessEqual:
		return libseccomp.CompareLessOrEqual
	case specs.OpEqualTo:
		return libseccomp.CompareEqual
	case specs.OpGreaterEqual:
		return libseccomp.CompareGreaterEqual
	case specs.OpGreaterThan:
		return libseccomp.CompareGreater
	case specs.OpMaskedEqual:
		return libseccomp.CompareMaskedEqual
	}
	return libseccomp.CompareInvalid
}

// scmpArch returns libseccomp's number for a SCMP_ARCH_ name.
func scmpArch(oci string) (libseccomp.ScmpArch, error) {
	a, ok := syscalls.ParseArch(oci)
	if !ok {
		return libseccomp.ArchInvalid, fmt.Errorf("unknown architecture %s", oci)
	}
	arch, err := libseccomp.GetArchFromString(libseccompName(a))
	if err != nil {
		return arch, fmt.Errorf("architecture %s: %w", oci, err)
	}
	return arch, nil
}

// libseccompName returns the Go binding's name of an architecture, which for one is not
// Docker's.
func libseccompName(a syscalls.Arch) string {
	if a.String() == "loongarch64" {
		return "loong64"
	}
	return a.String()
}

// flagBits returns the SECCOMP_FILTER_FLAG_* of linux/seccomp.h. Without a flags
// field Docker's runtime sets SPEC_ALLOW; an empty list sets none.
func flagBits(flags []specs.LinuxSeccompFlag) (uint32, error) {
	if flags == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	}
	var bits uint32
	for _, f := range flags {
		switch f {
		case "SECCOMP_FILTER_FLAG_TSYNC": // always set when the filter is installed
		case specs.LinuxSeccompFlagLog:
			bits |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			bits |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			bits |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		default:
			return 0, fmt.Errorf("unknown flag %s", f)
		}
	}
	return bits, nil
}

// export returns the program that libseccomp writes to a file: before 2.6 it cannot write to
// memory. The file is a memfd, since a pipe may be too small.
func export(write func(*os.File) error, order binary.ByteOrder) ([]unix.SockFilter, error) {
	data, err := exportBytes(write)
	if err != nil {
		return nil, err
	}
	return bpf.Decode(data, order)
}

func exportBytes(write func(*os.File) error) ([]byte, error) {
	fd, err := unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "seccomp")
	defer f.Close()
	if err := write(f); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	if err == nil && len(data) == 0 {
		err = errors.New("nothing was written")
	}
	return data, err
}
