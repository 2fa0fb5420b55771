package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Map is a table that programs and this process share. A program names it by
// asm.LoadMapPtr(register, m.FD()).
type Map struct {
	fd         int
	key, value int // sizes of what bpf(2) copies
	cpus       int // values of a key; 1, except for a map that has some for each CPU
}

// MapOptions say what a map is like.
type MapOptions struct {
	Name       string // shown by bpftool(8), up to 15 characters
	Kind       uint32 // unix.BPF_MAP_TYPE_*
	Key, Value uint32 // sizes in bytes
	Entries    uint32
}

type mapAttr struct { // of union bpf_attr, for BPF_MAP_CREATE
	kind, key, value, entries uint32
	_                         [3]uint32
	name                      [unix.BPF_OBJ_NAME_LEN]byte
}

// NewMap makes a map.
func NewMap(o MapOptions) (*Map, error) {
	m := &Map{key: int(o.Key), value: int(o.Value), cpus: 1}
	switch o.Kind {
	case unix.BPF_MAP_TYPE_PERCPU_ARRAY, unix.BPF_MAP_TYPE_PERCPU_HASH, unix.BPF_MAP_TYPE_LRU_PERCPU_HASH:
		var err error
		if m.cpus, err = possibleCPUs(); err != nil {
			return nil, err
		}
		m.value = (m.value + 7) &^ 7
	}
	attr := mapAttr{o.Kind, o.Key, o.Value, o.Entries, [3]uint32{}, name(o.Name)}
	fd, err := bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, fmt.Errorf("make the BPF map %s: %w", o.Name, err)
	}
	m.fd = fd
	return m, nil
}

// possibleCPUs returns how many values a map has that has one for each CPU.
func possibleCPUs() (int, error) {
	data, err := os.ReadFile("/sys/devices/system/cpu/possible") // "0-3", or "0-3,8-11"
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(data))
	last, err := strconv.Atoi(text[strings.LastIndexAny(text, "-,")+1:])
	return last + 1, err
}

// FD returns the map's descriptor.
func (m *Map) FD() int { return m.fd }

// Close gives up the map. Programs that use it keep it.
func (m *Map) Close() error { return unix.Close(m.fd) }

type elementAttr struct { // for BPF_MAP_*_ELEM and BPF_MAP_GET_NEXT_KEY
	fd         uint32
	_          uint32
	key, value unsafe.Pointer
	flags      uint64
}

func (m *Map) element(command int, key, value []byte) error {
	attr := elementAttr{fd: uint32(m.fd), value: unsafe.Pointer(unsafe.SliceData(value))}
	if key != nil {
		attr.key = unsafe.Pointer(unsafe.SliceData(key))
	}
	_, err := bpf(command, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// Update sets the value of a key. Of a map with values for each CPU it sets all.
func (m *Map) Update(key, value []byte) error {
	if len(key) != m.key || len(value) != m.value*m.cpus {
		return fmt.Errorf("update a BPF map: a key of %d bytes and a value of %d, want %d and %d", len(key), len(value), m.key, m.value*m.cpus)
	}
	return m.element(unix.BPF_MAP_UPDATE_ELEM, key, value)
}

// Lookup returns the value of a key, or [unix.ENOENT]. If there is one for each CPU they
// follow each other, each padded to a multiple of 8 bytes.
func (m *Map) Lookup(key []byte) ([]byte, error) {
	if len(key) != m.key {
		return nil, fmt.Errorf("look up in a BPF map: a key of %d bytes, want %d", len(key), m.key)
	}
	value := make([]byte, m.value*m.cpus)
	return value, m.element(unix.BPF_MAP_LOOKUP_ELEM, key, value)
}

// Count returns the sum of the 64-bit numbers that are the values of a key, 0 without it.
func (m *Map) Count(key []byte) (uint64, error) {
	value, err := m.Lookup(key)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return sum(value), nil
}

func sum(value []byte) (n uint64) {
	for ; len(value) >= 8; value = value[8:] {
		n += binary.NativeEndian.Uint64(value)
	}
	return n
}

// Keys returns all keys. A program that changes the map meanwhile can make it miss some.
func (m *Map) Keys() ([][]byte, error) {
	var keys [][]byte
	var key []byte
	for {
		next := make([]byte, m.key)
		err := m.element(unix.BPF_MAP_GET_NEXT_KEY, key, next)
		if errors.Is(err, unix.ENOENT) {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		keys, key = append(keys, next), next
	}
}
