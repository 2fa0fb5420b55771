package syscalls

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ArgumentKind is what the kernel takes an argument for.
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
	Text     ArgumentKind = 's' // a pointer to a text with a NUL byte at its end
	TextSize ArgumentKind = 'n' // a pointer to a text, whose size is the next argument
)

type prototype struct{ name, kinds string }

// ArgumentKinds returns what the arguments of a call are, from its definition in Linux
// 6.12, or in the kernel that it came with later. ok is false for calls without a
// definition there: those of some architectures only. The arguments of a few calls differ between
// architectures (clone); these are those of most.
func ArgumentKinds(call string) (kinds []ArgumentKind, ok bool) {
	i, ok := slices.BinarySearchFunc(prototypes[:], call, func(p prototype, call string) int { return strings.Compare(p.name, call) })
	if !ok {
		return nil, false
	}
	return []ArgumentKind(prototypes[i].kinds), true
}

// FormatTyped writes an argument as its kind asks for: by a name where it has one, as
// FormatArgument does, else as a number.
func FormatTyped(a Arch, call string, index int, kind ArgumentKind, value uint64) string {
	switch kind {
	case Int, Uint, File, Mode:
		value = uint64(uint32(value)) // the kernel reads no more
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
