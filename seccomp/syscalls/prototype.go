package syscalls

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ArgumentKind is how the kernel interprets an argument.
type ArgumentKind byte

// The kinds of arguments.
const (
	Word     ArgumentKind = 'x' // unsigned, as long as a register
	Long     ArgumentKind = 'l' // signed, as long as a register
	Int      ArgumentKind = 'd' // signed, 32 bits
	Uint     ArgumentKind = 'u' // unsigned, 32 bits
	File     ArgumentKind = 'f' // a file descriptor
	Mode     ArgumentKind = 'm' // permissions of a file
	Pointer  ArgumentKind = 'p'
	Text     ArgumentKind = 's' // a pointer to a text that ends with NUL
	TextSize ArgumentKind = 'n' // a pointer to a text whose size is the next argument
)

type prototype struct{ name, kinds string }

// ArgumentKinds returns the kinds of a call's arguments, from its definition in Linux 6.12, or
// in the later kernel that added the call. ok is false for a call without a definition in
// common code. Where architectures differ in the arguments of a call (clone), the result is
// for most of them.
func ArgumentKinds(call string) (kinds []ArgumentKind, ok bool) {
	i, ok := findPrototype(call)
	if !ok {
		return nil, false
	}
	return []ArgumentKind(prototypes[i].kinds), true
}

// WithTexts calls yield with each call that takes texts, and a bit for each argument that points to
// one. It is quicker than [ArgumentKinds] of all calls.
func WithTexts(yield func(call string, texts uint8) bool) {
	for _, p := range prototypes {
		if texts := textArguments(p.kinds); texts != 0 && !yield(p.name, texts) {
			return
		}
	}
}

// TextArguments returns a bit for each argument of a call that points to a text.
func TextArguments(call string) uint8 {
	i, ok := findPrototype(call)
	if !ok {
		return 0
	}
	return textArguments(prototypes[i].kinds)
}

func textArguments(kinds string) (mask uint8) {
	for i := range len(kinds) {
		if kind := ArgumentKind(kinds[i]); kind == Text || kind == TextSize {
			mask |= 1 << i
		}
	}
	return mask
}

func findPrototype(call string) (int, bool) {
	return slices.BinarySearchFunc(prototypes[:], call, func(p prototype, call string) int { return strings.Compare(p.name, call) })
}

// FormatTyped returns an argument of a call as text: as [FormatArgument] does if it has a name, or
// by the name that it has beside the other arguments (setsockopt(2), socket(2)), else as a number in
// the notation for its kind.
func FormatTyped(a Arch, call string, index int, kind ArgumentKind, args [6]uint64) string {
	value := args[index]
	switch kind {
	case Int, Uint, File, Mode:
		value = uint64(uint32(value)) // the kernel ignores the other bits
	}
	if name, ok := nameBeside(a, call, index, args); ok {
		return name
	}
	if name := FormatArgument(a, call, index, value); name[0] < '0' || name[0] > '9' {
		return name
	}
	const atFDCWD = -100 // AT_FDCWD of linux/fcntl.h
	switch {
	case kind == File && int32(value) == atFDCWD:
		return "AT_FDCWD"
	case kind == Int, kind == File, kind == Long && a == X86:
		return strconv.Itoa(int(int32(value)))
	case kind == Long:
		return strconv.FormatInt(int64(value), 10)
	case kind == Mode:
		return fmt.Sprintf("%#o", value)
	case kind != Pointer && kind != Text && kind != TextSize:
		if value < 1<<16 {
			return strconv.FormatUint(value, 10)
		}
	case value == 0:
		return "NULL"
	}
	return fmt.Sprintf("%#x", value)
}

// optionSet has the options of a level of sockets for a call, or for both calls if that is "".
type optionSet struct {
	call, level string
	options     []constant
}

// nameBeside returns the name of an argument whose meaning depends on another one.
func nameBeside(a Arch, call string, index int, args [6]uint64) (string, bool) {
	var set []constant
	switch {
	case index == 2 && (call == "socket" || call == "socketpair"):
		switch FormatArgument(a, call, 0, uint64(uint32(args[0]))) {
		case "AF_INET", "AF_INET6":
			set = ipProtocols[:]
		case "AF_NETLINK":
			set = netlinkProtocols[:]
		}
	case index == 2 && (call == "setsockopt" || call == "getsockopt"):
		level := FormatArgument(a, call, 1, uint64(uint32(args[1])))
		for i := range socketOptions {
			if o := &socketOptions[i]; o.level == level && (o.call == "" || o.call == call) {
				set = append(set, o.options...)
			}
		}
	}
	i := slices.IndexFunc(set, func(c constant) bool { return c.on(a) == uint64(uint32(args[index])) })
	if i < 0 {
		return "", false
	}
	return set[i].name, true
}
