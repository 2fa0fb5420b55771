package seccomp

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// CallPattern is a call as a person writes it: `chown`, `socket(AF_INET)`,
// `clone(CLONE_NEWUSER|SIGCHLD)`, `ioctl(0, TIOCSTI)`.
type CallPattern struct {
	Name  string
	Args  [6]uint64
	Given int // how many arguments were written; the others are anything
}

func (c CallPattern) String() string {
	if c.Given == 0 {
		return c.Name
	}
	args := make([]string, c.Given)
	for i := range args {
		args[i] = syscalls.FormatArgument(c.Name, i, c.Args[i])
	}
	return c.Name + "(" + strings.Join(args, ", ") + ")"
}

// Call is the pattern as a filter on the architecture sees it, with 0 for
// arguments that were not given. It is false when the architecture has no such call.
func (c CallPattern) Call(a syscalls.Arch) (Call, bool) {
	return NewCall(a, c.Name, c.Args[:]...)
}

// CallError is a call that means nothing.
type CallError struct {
	Text, Message, Fix string
	Offset             int // of what is wrong, in bytes
}

func (e *CallError) Error() string { return e.Text + ": " + e.Message }

// Hint says what to do, or is empty.
func (e *CallError) Hint() string { return e.Fix }

// ParseCall reads NAME or NAME(ARGUMENT, ...). An argument is a sum of words
// joined by |, each a number in Go's notation, a negative one, or a constant
// that goes with the call (see [syscalls.Constant]). An error is a [CallError].
func ParseCall(text string) (CallPattern, error) {
	fail := func(offset int, hint, format string, args ...any) (CallPattern, error) {
		return CallPattern{}, &CallError{Text: text, Message: fmt.Sprintf(format, args...), Fix: hint, Offset: offset}
	}
	name, rest, hasArgs := strings.Cut(text, "(")
	name = strings.TrimSpace(name)
	if !syscalls.Known(name) {
		hint := ""
		if near := syscalls.Suggest(name); near != "" {
			hint = "did you mean " + near + "?"
		}
		return fail(0, hint, "no such system call")
	}
	c := CallPattern{Name: name}
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
			return fail(offset, "a system call has six at most", "too many arguments")
		}
		v, bad, ok := parseArgument(name, c.Given, arg)
		if !ok {
			offset += len(arg) - len(strings.TrimLeft(arg, " \t"))
			return fail(offset, constantHint(name, c.Given), "%q is no number, and no constant that goes with argument %d", bad, c.Given)
		}
		c.Args[c.Given] = v
		c.Given++
		offset += len(arg) + 1
	}
	return c, nil
}

func parseArgument(call string, index int, text string) (v uint64, bad string, ok bool) {
	for _, word := range strings.Split(text, "|") {
		word = strings.TrimSpace(word)
		if c, ok := syscalls.Constant(call, index, word); ok {
			v |= c
			continue
		}
		if n, err := strconv.ParseUint(word, 0, 64); err == nil {
			v |= n
			continue
		}
		n, err := strconv.ParseInt(word, 0, 64)
		if err != nil {
			return 0, word, false
		}
		v |= uint64(n)
	}
	return v, "", true
}

func constantHint(call string, index int) string {
	known := syscalls.Constants(call, index)
	if len(known) == 0 {
		return "write a number"
	}
	return "write a number, or one of " + strings.Join(known[:min(len(known), 4)], ", ") + ", ..."
}
