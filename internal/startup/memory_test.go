package startup

import (
	"bytes"
	"os"
	"regexp"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pages of the heap are there that nothing has touched, as far as the Go runtime had reserved it.
func TestHeap(t *testing.T) {
	const reserved = 4 << 20 // at a time, at multiples of it
	from := start(first)
	in := make([]byte, (min(from+size, (from|(reserved-1))+1)-from)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, from, uintptr(len(in))*page, uintptr(unsafe.Pointer(unsafe.SliceData(in))))
	if errno != 0 || !bytes.Equal(in, bytes.Repeat([]byte{1}, len(in))) {
		t.Errorf("%v, %v", in, errno)
	}
}

// The code is mapped as a whole (proc_pid_smaps(5)).
func TestProgram(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`(?s) r-xp [^\n]*/startup\.test\nSize: *(\d+) kB.*?Rss: *(\d+) kB`).FindSubmatch(maps)
	if code == nil || !bytes.Equal(code[1], code[2]) {
		t.Errorf("size and resident, kB: %s", code)
	}
}
