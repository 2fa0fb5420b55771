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
		{AMD64, "prctl", 0, Int, 65, "PR_SET_MDWE"},
		{AMD64, "mount", 3, Word, 0x200021, "MS_RDONLY|MS_REMOUNT|MS_RELATIME"},
		{AMD64, "umount2", 1, Int, 8, "UMOUNT_NOFOLLOW"},
		{AMD64, "keyctl", 0, Int, 31, "KEYCTL_CAPABILITIES"},
	} {
		var args [6]uint64
		args[test.index] = test.value
		if got := FormatTyped(test.arch, test.call, test.index, test.kind, args); got != test.want {
			t.Errorf("%s %s/%d %#x: %s, want %s", test.arch, test.call, test.index, test.value, got, test.want)
		}
	}
}

// What an argument means can depend on another one.
func TestFormatBeside(t *testing.T) {
	minus := uint64(1<<64 - 1)
	for _, test := range []struct {
		arch Arch
		call string
		args [6]uint64
		want string
	}{
		{AMD64, "setsockopt", [6]uint64{3, 1, 32}, "SOL_SOCKET SO_SNDBUFFORCE"},
		{AMD64, "setsockopt", [6]uint64{3, 1 | minus<<32, 32 | minus<<32}, "SOL_SOCKET SO_SNDBUFFORCE"}, // both are int
		{AMD64, "setsockopt", [6]uint64{3, 0, 64}, "SOL_IP IPT_SO_SET_REPLACE"},
		{AMD64, "getsockopt", [6]uint64{3, 0, 64}, "SOL_IP IPT_SO_GET_INFO"},
		{AMD64, "getsockopt", [6]uint64{3, 41, 68}, "SOL_IPV6 IP6T_SO_GET_REVISION_MATCH"},
		{AMD64, "setsockopt", [6]uint64{3, 0, 19}, "SOL_IP IP_TRANSPARENT"},
		{AMD64, "setsockopt", [6]uint64{3, 6, 19}, "SOL_TCP TCP_REPAIR"},
		{AMD64, "setsockopt", [6]uint64{3, 270, 8}, "SOL_NETLINK NETLINK_LISTEN_ALL_NSID"},
		{AMD64, "setsockopt", [6]uint64{3, 263, 3}, "SOL_PACKET PACKET_RECV_OUTPUT"},
		{AMD64, "setsockopt", [6]uint64{3, 1, 4000}, "SOL_SOCKET 4000"},
		{AMD64, "setsockopt", [6]uint64{3, 4000, 1}, "4000 1"},
		{MIPS64, "setsockopt", [6]uint64{3, 0xffff, 31}, "SOL_SOCKET SO_SNDBUFFORCE"},
		{PPC64LE, "getsockopt", [6]uint64{3, 1, 21}, "SOL_SOCKET SO_PEERCRED"},
		{AMD64, "socket", [6]uint64{16, 3, 9}, "SOCK_RAW NETLINK_AUDIT"},
		{AMD64, "socket", [6]uint64{10, 3, 58}, "SOCK_RAW 58"},
		{AMD64, "socket", [6]uint64{2, 3, 1}, "SOCK_RAW IPPROTO_ICMP"},
		{AMD64, "socket", [6]uint64{1, 1, 0}, "SOCK_STREAM 0"},
		{AMD64, "kill", [6]uint64{1, 15, 0}, "SIGTERM 0"},
	} {
		one, two := FormatTyped(test.arch, test.call, 1, Int, test.args), FormatTyped(test.arch, test.call, 2, Int, test.args)
		if got := one + " " + two; got != test.want {
			t.Errorf("%s %s %v: %s, want %s", test.arch, test.call, test.args, got, test.want)
		}
	}
}
