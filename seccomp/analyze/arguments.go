package analyze

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/minirun/minirun/internal/spelling"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/keyword"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// CallPattern is a call as people write it: `chown`, `socket(AF_INET)`,
// `clone(CLONE_NEWUSER|SIGCHLD)`, `ioctl(0, TIOCSTI)`.
type CallPattern struct {
	Name  string
	Arch  syscalls.Arch // whose constants Args have; 0 means those of most architectures
	Args  [6]uint64
	Given int // how many arguments were written; the others may have any value
}

func (c CallPattern) String() string {
	if c.Given == 0 {
		return c.Name
	}
	args := make([]string, c.Given)
	for i := range args {
		args[i] = syscalls.FormatArgument(c.Arch, c.Name, i, c.Args[i])
	}
	return c.Name + "(" + strings.Join(args, ", ") + ")"
}

// Call returns the pattern as a filter on the architecture sees it, with 0 for omitted
// arguments. ok is false when the architecture does not have the call.
func (c CallPattern) Call(a syscalls.Arch) (bpf.Call, bool) {
	return bpf.NewCall(a, c.Name, c.Args[:]...)
}

// CallError says why a text is not a call. Fix is what to do, or "".
type CallError struct {
	Text, Message, Fix string
	Offset             int // of the error in Text, in bytes
}

func (e *CallError) Error() string {
	if strings.TrimSpace(e.Text) == "" {
		return strconv.Quote(e.Text) + ": " + e.Message
	}
	return e.Text + ": " + e.Message
}

// NoCallError says that an architecture does not have a call.
type NoCallError struct {
	Name string
	Arch syscalls.Arch
}

func (e *NoCallError) Error() string { return fmt.Sprintf("%s has no call %s", e.Arch, e.Name) }

// Elsewhere returns the first architecture that has the call, in the order of
// [syscalls.Arches].
func (e *NoCallError) Elsewhere() (arch syscalls.Arch, ok bool) {
	for _, arch := range syscalls.Arches() {
		if _, ok := syscalls.Number(arch, e.Name); ok {
			return arch, true
		}
	}
	return 0, false
}

// ParseCalls reads a call as [ParseCall] does, or a @group, which stands for those of its
// calls that the architecture has.
func ParseCalls(text string, arch syscalls.Arch) ([]CallPattern, error) {
	name := strings.TrimSpace(text)
	if !strings.HasPrefix(name, "@") {
		c, err := ParseCall(text, arch)
		return []CallPattern{c}, err
	}
	calls, ok := syscalls.Group(name)
	if !ok {
		return nil, &CallError{Text: text, Message: "no such group of system calls", Fix: groupHint(name)}
	}
	var all []CallPattern
	for _, call := range calls {
		if _, has := syscalls.Number(arch, call); has {
			all = append(all, CallPattern{Name: call, Arch: arch})
		}
	}
	return all, nil
}

// ParseCall reads NAME or NAME(ARGUMENT, ...). An argument is one or more words joined by |,
// whose values are ORed. A word is a number in Go's notation, possibly negative, or a
// constant of that argument on the architecture (see [syscalls.Constant]). The error is a
// [*CallError].
func ParseCall(text string, arch syscalls.Arch) (CallPattern, error) {
	fail := func(offset int, hint, format string, args ...any) (CallPattern, error) {
		return CallPattern{}, &CallError{Text: text, Message: fmt.Sprintf(format, args...), Fix: hint, Offset: offset}
	}
	before, rest, hasArgs := strings.Cut(text, "(")
	name := strings.TrimSpace(before)
	if !syscalls.Known(name) {
		return fail(begin(before), callHint(name), "no such system call")
	}
	c := CallPattern{Name: name, Arch: arch}
	if !hasArgs {
		return c, nil
	}
	inside, after, closed := strings.Cut(rest, ")")
	if !closed || strings.TrimSpace(after) != "" {
		return fail(len(text)-len(after), "write NAME(ARGUMENT, ...)", "the arguments do not end with )")
	}
	if strings.TrimSpace(inside) == "" {
		return c, nil
	}
	offset := len(text) - len(rest)
	for _, arg := range strings.Split(inside, ",") {
		if c.Given == len(c.Args) {
			return fail(offset+begin(arg), "a system call has six at most", "too many arguments")
		}
		for _, word := range strings.Split(arg, "|") {
			v, wrong := parseWord(arch, name, c.Given, strings.TrimSpace(word))
			if wrong != nil {
				return fail(offset+begin(word), wrong.Fix, "%s", wrong.Message)
			}
			c.Args[c.Given] |= v
			offset += len(word) + 1
		}
		c.Given++
	}
	return c, nil
}

// begin returns the offset of the first character that is not space.
func begin(text string) int { return len(text) - len(strings.TrimLeft(text, " \t")) }

func parseWord(arch syscalls.Arch, call string, index int, word string) (uint64, *CallError) {
	if c, ok := syscalls.Constant(arch, call, index, word); ok {
		return c, nil
	}
	if v, err := strconv.ParseUint(word, 0, 64); err == nil {
		return v, nil
	}
	n, err := strconv.ParseInt(word, 0, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, &CallError{Message: word + " does not fit in 64 bits"}
	case err == nil && syscalls.Int32Args(call)&(1<<index) != 0 && n >= math.MinInt32:
		return uint64(uint32(n)), nil // as the kernel reads it and C passes it
	case err == nil:
		return uint64(n), nil
	}
	return 0, &CallError{Message: fmt.Sprintf("%q is not a number, and not a constant of argument %d", word, index), Fix: constantHint(arch, call, index, word)}
}

func groupHint(name string) string {
	if hint := keyword.Suggest(name, syscalls.Groups()); hint != "" {
		return hint
	}
	return "there are " + strings.Join(syscalls.Groups(), ", ")
}

// callHint returns a hint for a name that no call has. It may be a number, as in logs.
func callHint(name string) string {
	if number, err := strconv.ParseUint(name, 0, 32); err == nil {
		if host, ok := syscalls.Host(); ok {
			if call, ok := syscalls.NameOf(host, uint32(number)); ok {
				return fmt.Sprintf("write its name: %s is %s on %s", name, call, host)
			}
		}
		return "write its name"
	}
	if name == "" {
		return "write NAME, or NAME(ARGUMENT, ...)"
	}
	if strings.HasPrefix(name, "@") {
		return "write the name of a call, not of a group"
	}
	return keyword.Suggest(strings.ToLower(name), syscalls.Names())
}

func constantHint(arch syscalls.Arch, call string, index int, word string) string {
	for other := range 6 {
		if _, ok := syscalls.Constant(arch, call, other, word); ok {
			return fmt.Sprintf("on %s it is a constant of argument %d", arch, other)
		}
	}
	known := syscalls.Constants(arch, call, index)
	if near := spelling.Nearest(strings.ToUpper(word), known); near != "" {
		return "did you mean " + near + "?"
	}
	if len(known) == 0 {
		return "write a number"
	}
	return "write a number, or one of " + strings.Join(known[:min(len(known), 4)], ", ") + ", ..."
}
