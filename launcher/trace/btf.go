package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

var errBTF = errors.New("it is not in the kernel's type information")

// functionID returns the number that a function of the kernel has in the type information
// of the kernel itself, where it can be traced by.
func functionID(function string) (uint32, error) {
	data, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		return 0, err
	}
	return findFunction(data, function)
}

// findFunction reads BTF (Documentation/bpf/btf.rst): a header, types of various lengths,
// which are numbered from 1, and their names.
func findFunction(data []byte, function string) (uint32, error) {
	const header, typeSize, kindFunc = 24, 12, 12
	order := binary.LittleEndian
	if len(data) < header || order.Uint16(data) != 0xeb9f {
		return 0, errors.New("not BTF")
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
		return 0, err
	}
	texts, err := section(16)
	if err != nil {
		return 0, err
	}
	want := append([]byte(function), 0)
	for id := uint32(1); len(types) >= typeSize; id++ {
		text, info := order.Uint32(types), order.Uint32(types[4:])
		kind, n := info>>24&31, int(info&0xffff)
		if kind == kindFunc && uint64(text) < uint64(len(texts)) && bytes.HasPrefix(texts[text:], want) {
			return id, nil
		}
		types = types[min(typeSize+tail(kind, n), len(types)):]
	}
	return 0, errBTF
}

// tail returns how many bytes follow a type of a kind with n members.
func tail(kind uint32, n int) int {
	switch kind {
	case 1, 14, 17: // INT, VAR, DECL_TAG
		return 4
	case 3: // ARRAY
		return 12
	case 4, 5, 15, 19: // STRUCT, UNION, DATASEC, ENUM64
		return 12 * n
	case 6, 13: // ENUM, FUNC_PROTO
		return 8 * n
	}
	return 0
}
