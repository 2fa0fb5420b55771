// Package record writes profiles of the calls that runs of a command made: what a filter
// has to let through for them, and nothing else. Profiles grow with each run.
//
// Nothing here watches a command, or needs a privilege.
package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Call is a system call that a run made.
type Call struct {
	Arch   syscalls.Arch
	Name   string
	Values []uint64 // of the argument that a rule compares, see [ArgumentOf]; nil without one, or if they are unknown
}

// Run is what is known of one run of a command.
type Run struct {
	Command string   // for the comment
	Calls   []Call   // that were made
	Missing []string // that the filter of the run answered with ENOSYS, so that the command fell back to others
	Runtime []string // that a container runtime, or an init, makes itself behind the filter; arguments with values are 0
}

// Argument is an argument on which rules of Docker's default profile decide: its kernel
// code is so different, or so rarely needed, that a profile has a rule for each value.
type Argument struct {
	Index int
	Mask  uint64 // of the bits that are compared
}

const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

var arguments = [...]struct {
	call     string
	argument Argument
}{
	{"clone", Argument{0, namespaces}},
	{"personality", Argument{0, 0xffffffff}},
	{"socket", Argument{0, 0xffffffff}},
}

// Arguments calls yield with each call of which an argument is recorded, as amd64 and its
// compatible architectures have it: the family of a socket, a personality, or the namespaces
// that clone makes.
func Arguments(yield func(call string, a Argument) bool) {
	for _, a := range arguments {
		if !yield(a.call, a.argument) {
			return
		}
	}
}

// ArgumentOf returns the argument of a call that is recorded.
func ArgumentOf(call string) (Argument, bool) {
	for name, argument := range Arguments {
		if name == call {
			return argument, true
		}
	}
	return Argument{}, false
}

// Result is a profile with a run added to it.
type Result struct {
	Text  []byte   // in Docker's format; that of the profile before when New is empty
	Calls int      // how many the profile names
	New   []string // what the run has added, as messages have it: mount, socket(AF_ALG); sorted
	Any   []string // calls of New with all values of an argument, since there were more than [MaxValues], or they are unknown; sorted
	Some  []string // calls of the run that are let through with some values of an argument only; sorted
}

// MaxValues is how many values of one argument a profile lists for a call. A run with more is of a
// program that tries values: Linux 7.2 has 46 families of sockets. With a rule for each the profile would
// be larger than [seccomp.MaxSize], or its program longer than the kernel takes.
const MaxValues = 64

// Add returns the profile old, or a new one if that is nil, with what it denies of the run.
// What it lets through stays as it is, and so do its other rules; the layout of a text that
// changes becomes that of new profiles. t is the container and the machine of the run. An
// error is old's: its rules do not let a call be added.
func (r *Run) Add(old *seccomp.Profile, t seccomp.Target) (*Result, error) {
	a := &adder{run: r, target: t}
	if old == nil {
		a.profile = empty(t.Arch)
	} else {
		var err error
		if a.profile, err = fromProfile(old); err != nil {
			return nil, err
		}
		if err := a.load(old); err != nil {
			return nil, err
		}
	}
	a.addArchitectures()
	a.addNames(t.Arch, []string{"execve"}) // no command starts without it
	a.addNames(t.Arch, whateverHappens())
	for _, c := range r.Calls {
		a.add(c)
		a.addNames(c.Arch, brings(c.Name))
		a.addNames(c.Arch, whateverHappens())
	}
	a.addNames(t.Arch, r.Runtime)
	for _, name := range append([]string{"clone3"}, r.Missing...) {
		a.addMissing(name)
	}
	slices.Sort(a.added)
	a.added = slices.Compact(a.added)
	if old != nil && len(a.added) == 0 {
		return &Result{Text: old.Source, Calls: a.profile.calls(), Some: a.some()}, nil
	}
	slices.Sort(a.any)
	a.profile.note(r.Command)
	text, err := a.text()
	if err == nil && old != nil {
		text, err = a.keepMissing(text)
	}
	if err != nil {
		return nil, err
	}
	return &Result{text, a.profile.calls(), a.added, a.any, a.some()}, a.check(text)
}

// whateverHappens returns calls that depend on the machine and the moment, and not on the program: a
// run that did not make them says nothing of the next. A command that was killed did not make
// exit_group(2). The others are answered in user mode (vdso(7)) while the machine's clock can be read
// there, which ends when Linux finds the clock unstable.
func whateverHappens() []string {
	return []string{"exit_group", "clock_getres", "clock_gettime", "clock_gettime64", "getcpu", "gettimeofday", "time"}
}

// brings returns the calls that another run may make since this one made a call. The kernel makes
// restart_syscall(2) of a call that waits for a time when its process has been stopped, or frozen by a
// pause of the container. A signal handler returns by rt_sigreturn(2), and on i386 by sigreturn(2).
// Threads, and processes that share memory, call futex(2) only when one has to wait for another: whether
// pthread_join(3) does is chance, and glibc aborts when it may not.
func brings(call string) []string {
	switch call {
	case "clone", "clone3", "fork", "vfork":
		return []string{"futex", "futex_time64", "restart_syscall"}
	case "nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "poll", "futex", "futex_time64":
		return []string{"restart_syscall"}
	case "rt_sigaction", "sigaction", "signal":
		return []string{"rt_sigreturn", "sigreturn"}
	}
	return nil
}

// adder adds a run to a profile.
type adder struct {
	run     *Run
	target  seccomp.Target
	profile *profile
	before  *bpf.Emulator // of the profile without the run, or nil
	added   []string
	any     []string
}

// load compiles the profile that exists.
func (a *adder) load(p *seccomp.Profile) error {
	emulator, err := emulatorOf(p, a.target)
	a.before = emulator
	return err
}

func emulatorOf(p *seccomp.Profile, t seccomp.Target) (*bpf.Emulator, error) {
	policy, err := p.Resolve(t)
	if err != nil {
		return nil, err
	}
	program, err := compile.Compile(t.Arch, policy.Seccomp, policy.RulePosition)
	if err != nil {
		return nil, err
	}
	return program.Emulator()
}

// emulate compiles a recorded profile.
func emulate(text []byte, t seccomp.Target) (*bpf.Emulator, error) {
	p, err := seccomp.Parse("the recorded profile", text)
	if err != nil {
		return nil, err
	}
	return emulatorOf(p, t)
}

// verdict returns what a program does with a call that has this value. The other arguments
// are 0.
func verdict(e *bpf.Emulator, c Call, value uint64) (bpf.Verdict, error) {
	call, ok := bpf.NewCall(c.Arch, c.Name)
	if !ok {
		return 0, fmt.Errorf("%s has no %s", c.Arch, c.Name)
	}
	if argument, ok := ArgumentOf(c.Name); ok {
		call.Args[argument.Index] = value
	}
	return e.Run(call)
}

// allowed reports whether the profile lets a call through already.
func (a *adder) allowed(c Call, value uint64) bool {
	if a.before == nil {
		return false
	}
	v, err := verdict(a.before, c, value)
	return err == nil && v.Passes()
}

func (a *adder) add(c Call) {
	argument, _ := ArgumentOf(c.Name)
	conditions := func(value uint64) []condition {
		if argument.Mask == 0xffffffff {
			return []condition{{Index: uint(argument.Index), Value: value, Op: specs.OpEqualTo}}
		}
		return []condition{{Index: uint(argument.Index), Value: argument.Mask, ValueTwo: value, Op: specs.OpMaskedEqual}}
	}
	var denied []uint64
	count := a.profile.values(c.Name)
	for _, value := range c.Values {
		if a.allowed(c, value) {
			continue
		}
		denied = append(denied, value)
		if !a.profile.allowsSome(c.Name, conditions(value)) {
			count++
		}
	}
	tooMany := count > MaxValues && len(denied) > 0 && !a.profile.decides(c.Name)
	if tooMany || len(c.Values) == 0 && !a.allowed(c, 0) {
		a.addAny(c.Name)
		return
	}
	for _, value := range denied {
		if a.profile.allow(c.Name, conditions(value)) {
			a.added = append(a.added, c.Name+"("+syscalls.FormatArgument(c.Arch, c.Name, argument.Index, value)+")")
		}
	}
}

// addAny lets a call through whatever its arguments are.
func (a *adder) addAny(name string) {
	if !a.profile.allow(name, nil) {
		return
	}
	a.added = append(a.added, name)
	if _, compared := ArgumentOf(name); compared {
		a.profile.removeValues(name)
		a.any = append(a.any, name)
	}
}

// some returns the calls of the run that are let through with some values only.
func (a *adder) some() (names []string) {
	for _, c := range a.run.Calls {
		if _, compared := ArgumentOf(c.Name); compared && !a.profile.allows(c.Name) {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// addNames adds the calls that an architecture has. Arguments that are compared are 0: a clone makes no
// namespace.
func (a *adder) addNames(arch syscalls.Arch, names []string) {
	for _, name := range names {
		c := Call{Arch: arch, Name: name}
		if _, compared := ArgumentOf(name); compared {
			c.Values = []uint64{0}
		}
		if _, ok := syscalls.Number(arch, name); ok {
			a.add(c)
		}
	}
}

// addMissing has a call get ENOSYS, unless it is let through: programs fall back from it,
// but not from EPERM. clone3 always is such a call: its flags are in memory, where no rule
// sees them, and glibc makes threads and processes by it.
func (a *adder) addMissing(name string) {
	if a.profile.allows(name) {
		return
	}
	if a.before != nil {
		v, err := verdict(a.before, Call{Arch: a.target.Arch, Name: name}, 0)
		if err != nil || v.Passes() || v == noSuchCall && a.profile.names(name) {
			return
		}
	}
	if a.profile.missing(name) {
		a.added = append(a.added, name+" (ENOSYS)")
	}
}

const noSuchCall = bpf.Verdict(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))

// keepMissing returns the text with rules for calls that were newer than all that the profile named.
// Runtimes and minirun answer those with ENOSYS, but now the profile may name a newer one.
func (a *adder) keepMissing(text []byte) ([]byte, error) {
	after, err := emulate(text, a.target)
	if err != nil {
		return nil, err
	}
	for _, name := range syscalls.Calls(a.target.Arch) {
		c := Call{Arch: a.target.Arch, Name: name}
		was, err1 := verdict(a.before, c, 0)
		is, err2 := verdict(after, c, 0)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if was == noSuchCall && is != was && !a.profile.names(name) {
			a.profile.missing(name)
		}
	}
	return a.text()
}

// text returns the profile, unless it is too large.
func (a *adder) text() ([]byte, error) {
	text, err := a.profile.text()
	if err == nil && len(text) > seccomp.MaxSize {
		err = fmt.Errorf("with the calls of the run the profile would have %d bytes, the limit is %d", len(text), seccomp.MaxSize)
	}
	return text, err
}

// addArchitectures adds those of the run's calls.
func (a *adder) addArchitectures() {
	for _, c := range a.run.Calls {
		if a.profile.addArchitecture(a.target.Arch, c.Arch) {
			a.added = append(a.added, "calls of "+c.Arch.String())
		}
	}
}

// check makes sure that the text lets the whole run through: a rule of the profile before
// may decide first.
func (a *adder) check(text []byte) error {
	e, err := emulate(text, a.target)
	if err != nil {
		return err
	}
	var denied []string
	for _, c := range append([]Call{{Arch: a.target.Arch, Name: "execve"}}, a.run.Calls...) {
		values := c.Values
		if len(values) == 0 {
			values = []uint64{0}
		}
		for _, value := range values {
			if v, err := verdict(e, c, value); err != nil || !v.Passes() {
				denied = append(denied, c.Name)
			}
		}
	}
	if len(denied) > 0 {
		return fmt.Errorf("its rules still deny %s", strings.Join(slices.Compact(denied), " "))
	}
	return nil
}
