package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var errBTF = errors.New("it is not in the kernel's type information")

// Types is the kernel's type information (Documentation/bpf/btf.rst): types of various
// lengths, which are numbered from 1, and their names, each between two NUL bytes.
type Types struct{ types, names, mapped []byte }

// The sizes of BTF's header and of a type without its members, and the kinds of types.
const (
	btfHeader = 24
	btfType   = 12

	btfStruct = 4
	btfFunc   = 12
)

// KernelTypes opens the type information of the kernel itself (CONFIG_DEBUG_INFO_BTF).
func KernelTypes() (*Types, error) {
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
	data := mapped
	if err != nil {
		if data, err = os.ReadFile(f.Name()); err != nil {
			return nil, err
		}
	}
	t, err := parseTypes(data)
	if err != nil {
		return nil, errors.Join(err, (&Types{mapped: mapped}).Close())
	}
	t.mapped = mapped
	return t, nil
}

// Close gives up the type information.
func (t *Types) Close() error {
	if t.mapped == nil {
		return nil
	}
	return unix.Munmap(t.mapped)
}

func parseTypes(data []byte) (*Types, error) {
	order := binary.LittleEndian
	if len(data) < btfHeader || order.Uint16(data) != 0xeb9f {
		return nil, errors.New("not BTF")
	}
	section := func(at int) ([]byte, error) {
		start, size := uint64(order.Uint32(data[4:]))+uint64(order.Uint32(data[at:])), uint64(order.Uint32(data[at+4:]))
		if start+size > uint64(len(data)) {
			return nil, fmt.Errorf("a section of %d bytes at %d: there are %d", size, start, len(data))
		}
		return data[start : start+size], nil
	}
	types, err := section(8)
	if err != nil {
		return nil, err
	}
	names, err := section(16)
	if err != nil {
		return nil, err
	}
	return &Types{types: types, names: names}, nil
}

// function returns the number of a function, by which it can be traced.
func (t *Types) function(name string) (uint32, error) {
	id, _, err := t.find(btfFunc, name)
	if err != nil {
		return 0, fmt.Errorf("the function %s: %w", name, err)
	}
	return id, nil
}

// Offset returns where a member is in a struct, in bytes. It finds no members of structs
// without a name inside of it.
func (t *Types) Offset(structure, member string) (int32, error) {
	_, members, err := t.find(btfStruct, structure)
	order := binary.LittleEndian
	for ; err == nil && len(members) >= btfType; members = members[btfType:] {
		if t.is(order.Uint32(members), member) {
			const sizeOfBitField = 0xff << 24 // in types with kind_flag
			return int32(order.Uint32(members[8:])&^sizeOfBitField) / 8, nil
		}
	}
	return 0, fmt.Errorf("the member %s of struct %s: %w", member, structure, errBTF)
}

// find returns the number of a type, and its members.
func (t *Types) find(kind uint32, name string) (id uint32, members []byte, err error) {
	order, types := binary.LittleEndian, t.types
	for id = 1; len(types) >= btfType; id++ {
		text, info := order.Uint32(types), order.Uint32(types[4:])
		members, rest := split(types[btfType:], tail(info>>24&31, int(info&0xffff)))
		if info>>24&31 == kind && t.is(text, name) {
			return id, members, nil
		}
		types = rest
	}
	return 0, nil, errBTF
}

// is reports whether a name is at a place among the names.
func (t *Types) is(at uint32, name string) bool {
	if uint64(at)+uint64(len(name)) >= uint64(len(t.names)) {
		return false
	}
	text, end := split(t.names[at:], len(name))
	return string(text) == name && end[0] == 0
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
