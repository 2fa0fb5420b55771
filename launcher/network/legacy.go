package network

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacyDrops reports whether the FORWARD chain of iptables-legacy(8), which nftables do
// not show, drops IPv4 packets by its policy, and no rule of its table names the bridge. It
// returns false if it cannot find out.
func legacyDrops() bool {
	// Asking for a table creates it, so only a table that exists is asked for.
	tables, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if err != nil || !slices.Contains(strings.Fields(string(tables)), "filter") {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	const getInfo, getEntries = 64, 65 // IPT_SO_GET_INFO and _ENTRIES of linux/netfilter_ipv4/ip_tables.h
	// struct ipt_getinfo: the name, valid_hooks, hook_entry[5], underflow[5], num_entries, size
	info := make([]byte, 84)
	copy(info, "filter")
	if getsockopt(fd, getInfo, info) != nil {
		return false
	}
	const forward = 2 // NF_INET_FORWARD
	policy, size := int(binary.NativeEndian.Uint32(info[56+4*forward:])), binary.NativeEndian.Uint32(info[80:])
	// struct ipt_get_entries: the name, size, the entries aligned to 8
	entries := make([]byte, 40+int(size))
	copy(entries, "filter")
	binary.NativeEndian.PutUint32(entries[32:], size)
	if getsockopt(fd, getEntries, entries) != nil {
		return false
	}
	return legacyPolicyDrops(entries[40:], policy) && !bytes.Contains(entries[40:], append([]byte(bridgeName), 0))
}

// legacyPolicyDrops reports whether the verdict of the rule at an offset is to drop.
func legacyPolicyDrops(entries []byte, rule int) bool {
	// struct ipt_entry has the offset of its target at 88; a target is a header of 32 bytes
	// and, if it is the standard one, -(verdict + 1).
	const targetOffset, header, drop = 88, 32, 0xffffffff
	if rule < 0 || rule+targetOffset+2 > len(entries) {
		return false
	}
	verdict := rule + int(binary.NativeEndian.Uint16(entries[rule+targetOffset:])) + header
	return verdict+4 <= len(entries) && binary.NativeEndian.Uint32(entries[verdict:]) == drop
}

// getsockopt fills value, whose beginning says what is asked for.
func getsockopt(fd, option int, value []byte) error {
	size := uint32(len(value))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, uintptr(option),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return errno
	}
	return nil
}
