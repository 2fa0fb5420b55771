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

	"github.com/minirun/minirun/internal/kernel"
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
	flags                     uint32
	_                         [2]uint32
	name                      [unix.BPF_OBJ_NAME_LEN]byte
}

// NewMap makes a map. An entry of a hash is allocated when it is added, where the kernel can do
// that in a program: an update can fail before the map has all its entries.
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
	attr := mapAttr{kind: o.Kind, key: o.Key, value: o.Value, entries: o.Entries, name: name(o.Name)}
	if o.Kind == unix.BPF_MAP_TYPE_HASH && allocatesLate() {
		attr.flags = unix.BPF_F_NO_PREALLOC
	}
	fd, err := bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, fmt.Errorf("make the BPF map %s: %w", o.Name, err)
	}
	m.fd = fd
	return m, nil
}

// allocatesLate reports whether programs on tracepoints can allocate the entries of a map. The
// kernel has an allocator for that since Linux 6.1 (7c8199e24fa0), and warned of such maps before.
func allocatesLate() bool {
	major, minor, err := kernel.Version()
	return err == nil && (major > 6 || major == 6 && minor >= 1)
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

// Counts returns the 64-bit numbers that the value of a key consists of. If there is a value for
// each CPU they are sums.
func (m *Map) Counts(key []byte) ([]uint64, error) {
	value, err := m.Lookup(key)
	if err != nil {
		return nil, err
	}
	counts := make([]uint64, m.value/8)
	for i := range len(value) / 8 {
		counts[i%len(counts)] += binary.NativeEndian.Uint64(value[8*i:])
	}
	return counts, nil
}

// Count returns the first of the numbers of [Map.Counts], 0 without the key.
func (m *Map) Count(key []byte) (uint64, error) {
	counts, err := m.Counts(key)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return counts[0], nil
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
