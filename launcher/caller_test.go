package launcher

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const someMaps = `55d0c0000000-55d0c0002000 r--p 00000000 08:01 131 /usr/bin/a b
7f0000000000-7f0000001000 rw-p 00000000 00:00 0
7f0000001000-7f0000002000 r-xp 00026000 08:01 132                        /usr/lib/libc.so.6
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                          [vdso]
`

func TestMappedAt(t *testing.T) {
	for ip, want := range map[uint64]string{
		0x55d0c0000000: "/usr/bin/a b", 0x55d0c0001fff: "/usr/bin/a b", 0x55d0c0002000: "", 0x7f0000000010: "",
		0x7f0000001abc: "/usr/lib/libc.so.6", 0x7ffc00000001: "", 0: "",
	} {
		if got := mappedAt([]byte(someMaps), ip); got != want {
			t.Errorf("%#x: %q, want %q", ip, got, want)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	here := reflect.ValueOf(TestMappedAt).Pointer()
	if got := libraryAt("/proc/self", uint64(here)); got != exe {
		t.Errorf("this function is of %q, want %q", got, exe)
	}
}

// What takes long because the machine is busy is waited for. What a container holds up is
// not, and nothing else is tried until it has ended.
func TestLimited(t *testing.T) {
	const patience = time.Millisecond
	var r callerReader
	limited := func(do func()) (taken bool) {
		r.limited(patience, func() func() { do(); return func() { taken = true } })
		return taken
	}
	busy := func() {
		for begin := time.Now(); time.Since(begin) < 20*patience; {
			_ = begin // it keeps its processor
		}
	}
	if !limited(busy) {
		t.Error("what runs is not waited for")
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	if limited(func() { _, _ = unix.Read(pipe[0], make([]byte, 1)) }) {
		t.Error("what waits for another is taken")
	}
	if limited(func() {}) {
		t.Error("another is tried while one is stuck")
	}
	unix.Close(pipe[1])
	<-r.stuck
	if !limited(func() {}) {
		t.Error("nothing is tried any more")
	}
}

func FuzzMappedAt(f *testing.F) {
	f.Add([]byte(someMaps), uint64(0x7f0000001abc))
	f.Add([]byte("0-ffffffffffffffff"), uint64(1))
	f.Fuzz(func(t *testing.T, maps []byte, ip uint64) {
		if got := mappedAt(maps, ip); got != "" && (got[0] != '/' || !strings.Contains(string(maps), got)) {
			t.Errorf("%q", got)
		}
	})
}
