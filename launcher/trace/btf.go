package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

var errBTF = errors.New("it is not in the kernel's type information")

// Types are the numbers of functions, by which they can be traced, and the offsets of members
// of structs, in bytes, each by its name: cap_capable, cred.user_ns.
type Types map[string]uint32

// The sizes of BTF's header and of a type without its members, and the kinds of types.
const (
	btfHeader = 24
	btfType   = 12

	btfStruct = 4
	btfFunc   = 12
)

// KernelTypes looks functions and members up in the type information of the kernel itself
// (CONFIG_DEBUG_INFO_BTF). It finds no members of structs without a name inside of a struct.
func KernelTypes(names ...string) (Types, error) {
	f, err := os.Open("/sys/kernel/btf/vmlinux")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Linux 6.16 maps it; it takes 1500 reads to have all.
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		data, err := os.ReadFile(f.Name())
		if err != nil {
			return nil, err
		}
		return findTypes(data, names)
	}
	t, err := findTypes(mapped, names)
	return t, errors.Join(err, unix.Munmap(mapped))
}

// find returns the number of a function, or the offset of a member.
func (t Types) find(name string) (uint32, error) {
	found, ok := t[name]
	if !ok {
		return 0, fmt.Errorf("%s: %w", name, errBTF)
	}
	return found, nil
}

// Offset returns where a member is in its struct, in bytes.
func (t Types) Offset(member string) (int32, error) {
	at, err := t.find(member)
	return int32(at), err
}

// btf is type information (Documentation/bpf/btf.rst): types of various lengths, which are
// numbered from 1, and their names, each between two NUL bytes.
type btf struct{ types, names []byte }

// findTypes looks at each type once: there are 100000 and more.
func findTypes(data []byte, names []string) (Types, error) {
	b, err := parseBTF(data)
	if err != nil {
		return nil, err
	}
	var functions []string
	var structs [][2]string // with a member each
	for _, name := range names {
		if structure, member, ok := strings.Cut(name, "."); ok {
			structs = append(structs, [2]string{structure, member})
		} else {
			functions = append(functions, name)
		}
	}
	found, order, types := Types{}, binary.LittleEndian, b.types
	for id := uint32(1); len(types) >= btfType && len(found) < len(names); id++ {
		text, info := order.Uint32(types), order.Uint32(types[4:])
		kind := info >> 24 & 31
		members, rest := split(types[btfType:], tail(kind, int(info&0xffff)))
		types = rest
		switch kind {
		case btfFunc:
			for _, name := range functions {
				if b.is(text, name) {
					found.add(name, id)
				}
			}
		case btfStruct:
			for _, s := range structs {
				if !b.is(text, s[0]) {
					continue
				}
				if at, ok := b.offset(members, s[1]); ok {
					found.add(s[0]+"."+s[1], at)
				}
			}
		}
	}
	return found, nil
}

// add adds a name, unless an earlier type has it.
func (t Types) add(name string, n uint32) {
	if _, ok := t[name]; !ok {
		t[name] = n
	}
}

// offset returns the offset of a member of a struct, in bytes.
func (b btf) offset(members []byte, name string) (uint32, bool) {
	for order := binary.LittleEndian; len(members) >= btfType; members = members[btfType:] {
		if b.is(order.Uint32(members), name) {
			const sizeOfBitField = 0xff << 24 // in types with kind_flag
			return order.Uint32(members[8:]) &^ sizeOfBitField / 8, true
		}
	}
	return 0, false
}

func parseBTF(data []byte) (b btf, err error) {
	order := binary.LittleEndian
	if len(data) < btfHeader || order.Uint16(data) != 0xeb9f {
		return b, errors.New("not BTF")
	}
	section := func(at int) ([]byte, error) {
		start, size := uint64(order.Uint32(data[4:]))+uint64(order.Uint32(data[at:])), uint64(order.Uint32(data[at+4:]))
		if start+size > uint64(len(data)) {
			return nil, fmt.Errorf("a section of %d bytes at %d: there are %d", size, start, len(data))
		}
		return data[start : start+size], nil
	}
	if b.types, err = section(8); err != nil {
		return b, err
	}
	b.names, err = section(16)
	return b, err
}

// is reports whether a name, which is not empty, is at a place among the names. Almost every name has
// another first byte or another length.
func (b btf) is(at uint32, name string) bool {
	end := uint64(at) + uint64(len(name))
	return end < uint64(len(b.names)) && b.names[at] == name[0] && b.names[end] == 0 && string(b.names[at:end]) == name
}

func split(data []byte, n int) (head, rest []byte) {
	n = min(n, len(data))
	return data[:n], data[n:]
}

// tail returns how many bytes follow a type of a kind with n members.
func tail(kind uint32, n int) int {
	switch kind {
	case 1, 14, 17: // INT, VAR, DECL_TAG
		return 4
	case 3: // ARRAY
		return 12
	case btfStruct, 5, 15, 19: // UNION, DATASEC, ENUM64
		return 12 * n
	case 6, 13: // ENUM, FUNC_PROTO
		return 8 * n
	}
	return 0
}
