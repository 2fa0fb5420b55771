package syscalls

import (
	"slices"

	"github.com/minirun/minirun/internal/spelling"
)

// Names returns the calls of all architectures, sorted.
func Names() []string { return slices.Clone(names[:]) }

// Known reports whether any architecture has the call.
func Known(name string) bool {
	_, ok := slices.BinarySearch(names[:], name)
	return ok
}

// Number returns a call's number as a filter sees it: for x32 with its bit, for MIPS with its
// offset. ok is false if the architecture does not have the call.
func Number(a Arch, name string) (uint32, bool) {
	at := a.index()
	i, ok := slices.BinarySearch(names[:], name)
	if at < 0 || !ok {
		return 0, false
	}
	table := arches[at].table
	j, ok := slices.BinarySearchFunc(table, uint16(i), func(e entry, name uint16) int { return int(e.name) - int(name) })
	if !ok {
		return 0, false
	}
	return table[j].number, true
}

// NameOf returns the name of the call with a number as a filter sees it.
func NameOf(a Arch, number uint32) (string, bool) {
	at := a.index()
	if at < 0 {
		return "", false
	}
	for _, e := range arches[at].table {
		if e.number == number {
			return names[e.name], true
		}
	}
	return "", false
}

// Calls returns an architecture's calls in the order of their numbers.
func Calls(a Arch) []string {
	at := a.index()
	if at < 0 {
		return nil
	}
	table := slices.Clone(arches[at].table)
	slices.SortFunc(table, func(x, y entry) int { return int(x.number) - int(y.number) })
	calls := make([]string, len(table))
	for i, e := range table {
		calls[i] = names[e.name]
	}
	return calls
}

// Int32Args returns a mask with bit i set if the kernel reads argument i of the call as an int
// or another type of at most 32 bits (its SYSCALL_DEFINE on 64-bit machines). It is 0 for
// calls without a known definition.
func Int32Args(name string) uint8 {
	i, ok := slices.BinarySearch(names[:], name)
	if !ok {
		return 0
	}
	return int32Args[i]
}

// Suggest returns the call or group whose name is most similar to what was written, or "" if
// none is.
func Suggest(written string) string {
	return spelling.Nearest(written, append(Names(), Groups()...))
}
