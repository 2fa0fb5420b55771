package syscalls

import (
	"slices"
	"strings"
	"testing"
)

func TestPrototypes(t *testing.T) {
	if !slices.IsSortedFunc(prototypes[:], func(x, y prototype) int { return strings.Compare(x.name, y.name) }) {
		t.Error("not sorted")
	}
	for call, want := range map[string]string{
		"mount": "sssxp", "openat": "fsdm", "sethostname": "nd", "clone": "xxpxp", "fchownat": "fsddd",
		"write": "fpx", "getcwd": "px", "add_key": "sspxd", "unshare": "x", "mq_timedsend": "dpxup",
		"setxattrat": "fsuspx", "file_getattr": "fspxu", "listns": "ppxu", "setsockopt": "fddpd", "shmat": "dpd", "rseq_slice_yield": "",
	} {
		kinds, ok := ArgumentKinds(call)
		if got := string(kinds); !ok || got != want {
			t.Errorf("%s: %q, want %q", call, got, want)
		}
	}
	for _, call := range Calls(AMD64) { // all, except for three that are numbers only
		if _, ok := ArgumentKinds(call); !ok && call != "security" && call != "epoll_ctl_old" && call != "epoll_wait_old" {
			t.Errorf("%s has no prototype", call)
		}
	}
	if kinds, ok := ArgumentKinds("getpid"); !ok || len(kinds) > 0 {
		t.Errorf("getpid: %q, %t", kinds, ok)
	}
	for _, p := range prototypes {
		if !Known(p.name) || len(p.kinds) > 6 || strings.Trim(p.kinds, "xldufmpsn") != "" {
			t.Errorf("%+v", p)
		}
		narrow := Int32Args(p.name) // from the same definitions
		for i, kind := range p.kinds {
			if is := strings.ContainsRune("dufm", kind); narrow&(1<<i) != 0 && !is {
				t.Errorf("%s: argument %d is of 32 bits, and %c", p.name, i, kind)
			}
		}
	}
}

func TestFormatTyped(t *testing.T) {
	minus := func(n int64) uint64 { return uint64(-n) }
	for _, test := range []struct {
		arch  Arch
		call  string
		index int
		kind  ArgumentKind
		value uint64
		want  string
	}{
		{AMD64, "fchownat", 0, File, minus(100), "AT_FDCWD"},
		{AMD64, "fchownat", 0, File, 0xffffff9c, "AT_FDCWD"},
		{AMD64, "fchownat", 2, Int, 65534, "65534"},
		{AMD64, "fchownat", 3, Int, 0xffffffff, "-1"},
		{AMD64, "mount", 4, Pointer, 0, "NULL"},
		{AMD64, "mount", 0, Text, 0x7ffe0000, "0x7ffe0000"},
		{AMD64, "chmod", 1, Mode, 0o755, "0755"},
		{AMD64, "unshare", 0, Word, 0x10000000, "CLONE_NEWUSER"},
		{AMD64, "ptrace", 1, Long, minus(3), "-3"},
		{X86, "ptrace", 1, Long, 0xfffffffd, "-3"},
		{AMD64, "socket", 0, Int, 40, "AF_VSOCK"},
		{AMD64, "brk", 0, Word, 0x5678000, "0x5678000"},
		{AMD64, "read", 2, Word, 4096, "4096"},
		{AMD64, "access", 1, Int, 5, "R_OK|X_OK"},
		{AMD64, "access", 1, Int, 0, "F_OK"},
		{AMD64, "prlimit64", 1, Uint, 7, "RLIMIT_NOFILE"},
		{MIPS64, "prlimit64", 1, Uint, 7, "RLIMIT_RSS"},
		{AMD64, "clock_settime", 0, Int, 0, "CLOCK_REALTIME"},
	} {
		if got := FormatTyped(test.arch, test.call, test.index, test.kind, test.value); got != test.want {
			t.Errorf("%s %s/%d %#x: %s, want %s", test.arch, test.call, test.index, test.value, got, test.want)
		}
	}
}
