package trace

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
)

// Range is where a function of the kernel is in memory: From to before To.
type Range struct{ From, To uint64 }

// Has reports whether an address is in the range.
func (r Range) Has(address uint64) bool { return r.From <= address && address < r.To }

// Functions returns where functions of the kernel are that have one of the names. It takes
// some 40 ms. The kernel shows its addresses to a process with CAP_SYSLOG (kptr_restrict,
// sysctl(8)).
func Functions(names ...string) ([]Range, error) {
	data, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return nil, err
	}
	return findFunctions(data, names)
}

// findFunctions reads lines of an address, a kind and a name. A function ends where the next
// symbol begins.
func findFunctions(data []byte, names []string) (found []Range, err error) {
	var addresses []uint64
	for line := range bytes.Lines(data) {
		f := bytes.Fields(line)
		if len(f) < 3 {
			continue
		}
		address, err := strconv.ParseUint(string(f[0]), 16, 64)
		if err != nil || address == 0 {
			continue
		}
		addresses = append(addresses, address)
		if slices.Contains(names, string(f[2])) {
			found = append(found, Range{From: address})
		}
	}
	if len(found) == 0 {
		return nil, errors.New("the kernel does not show where its functions are")
	}
	slices.Sort(addresses)
	for i := range found {
		next, _ := slices.BinarySearch(addresses, found[i].From+1)
		found[i].To = found[i].From + 1
		if next < len(addresses) {
			found[i].To = addresses[next]
		}
	}
	return found, nil
}
