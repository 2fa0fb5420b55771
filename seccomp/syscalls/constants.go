package syscalls

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// constant is a name for a value of an argument, from the headers in linux/ and asm-generic/.
// The values of architectures with other headers are in deviations.
type constant struct {
	name  string
	value uint64
}

// deviation has values of architectures whose uapi/asm/ headers differ from asm-generic's.
type deviation struct {
	arches []Arch
	values []constant
}

// deviations are those of fcntl.h, ioctls.h, mman.h and resource.h; those of other headers are generated.
var deviations = [...]deviation{
	{[]Arch{ARM, ARM64, PPC, PPC64, PPC64LE}, []constant{{"O_DIRECTORY", 0x4000}, {"O_NOFOLLOW", 0x8000}, {"O_TMPFILE", 0x404000}}},
	{[]Arch{PPC, PPC64, PPC64LE}, []constant{{"TCGETS", 0x402c7413}, {"TCSETS", 0x802c7414}, {"FIONREAD", 0x4004667f}}},
	{[]Arch{PPC, PPC64, PPC64LE, MIPS, MIPS64, MIPS64N32, MIPSEL, MIPSEL64, MIPSEL64N32}, []constant{
		{"TIOCGPGRP", 0x40047477},
		{"TIOCSPGRP", 0x80047476},
		{"TIOCGWINSZ", 0x40087468},
		{"TIOCSWINSZ", 0x80087467},
		{"TUNSETIFF", 0x800454ca},
		{"PERF_EVENT_IOC_ENABLE", 0x20002400},
	}},
	{[]Arch{MIPS, MIPS64, MIPS64N32, MIPSEL, MIPSEL64, MIPSEL64N32}, []constant{
		{"SOCK_STREAM", 2},
		{"SOCK_DGRAM", 1},
		{"SOCK_NONBLOCK", 0x80},
		{"O_CREAT", 0x100},
		{"O_EXCL", 0x400},
		{"O_APPEND", 8},
		{"O_NONBLOCK", 0x80},
		{"O_NOCTTY", 0x800},
		{"O_DSYNC", 0x10},
		{"MAP_ANONYMOUS", 0x800},
		{"F_SETOWN", 24},
		{"TIOCSTI", 0x5472},
		{"TIOCLINUX", 0x5483},
		{"TIOCSCTTY", 0x5480},
		{"TIOCSETD", 0x7401},
		{"TIOCCONS", 0x80047478},
		{"TCGETS", 0x540d},
		{"TCSETS", 0x540e},
		{"FIONREAD", 0x467f},
		{"RLIMIT_NOFILE", 5},
		{"RLIMIT_AS", 6},
		{"RLIMIT_RSS", 7},
		{"RLIMIT_NPROC", 8},
		{"RLIMIT_MEMLOCK", 9},
	}},
}

// on returns the value of a constant on an architecture.
func (c *constant) on(a Arch) uint64 {
	for _, all := range [][]deviation{deviations[:], generatedDeviations[:]} {
		for i := range all {
			d := &all[i]
			if j := slices.IndexFunc(d.values, func(o constant) bool { return o.name == c.name }); j >= 0 && slices.Contains(d.arches, a) {
				return d.values[j].value
			}
		}
	}
	return c.value
}

var families = [...]constant{
	{"AF_UNSPEC", unix.AF_UNSPEC},
	{"AF_UNIX", unix.AF_UNIX},
	{"AF_LOCAL", unix.AF_LOCAL},
	{"AF_INET", unix.AF_INET},
	{"AF_AX25", unix.AF_AX25},
	{"AF_IPX", unix.AF_IPX},
	{"AF_APPLETALK", unix.AF_APPLETALK},
	{"AF_NETROM", unix.AF_NETROM},
	{"AF_BRIDGE", unix.AF_BRIDGE},
	{"AF_ATMPVC", unix.AF_ATMPVC},
	{"AF_X25", unix.AF_X25},
	{"AF_INET6", unix.AF_INET6},
	{"AF_ROSE", unix.AF_ROSE},
	{"AF_NETBEUI", unix.AF_NETBEUI},
	{"AF_SECURITY", unix.AF_SECURITY},
	{"AF_ASH", unix.AF_ASH},
	{"AF_SNA", unix.AF_SNA},
	{"AF_KEY", unix.AF_KEY},
	{"AF_NETLINK", unix.AF_NETLINK},
	{"AF_PACKET", unix.AF_PACKET},
	{"AF_RDS", unix.AF_RDS},
	{"AF_PPPOX", unix.AF_PPPOX},
	{"AF_LLC", unix.AF_LLC},
	{"AF_IB", unix.AF_IB},
	{"AF_MPLS", unix.AF_MPLS},
	{"AF_CAN", unix.AF_CAN},
	{"AF_TIPC", unix.AF_TIPC},
	{"AF_BLUETOOTH", unix.AF_BLUETOOTH},
	{"AF_IUCV", unix.AF_IUCV},
	{"AF_RXRPC", unix.AF_RXRPC},
	{"AF_PHONET", unix.AF_PHONET},
	{"AF_IEEE802154", unix.AF_IEEE802154},
	{"AF_CAIF", unix.AF_CAIF},
	{"AF_ALG", unix.AF_ALG},
	{"AF_NFC", unix.AF_NFC},
	{"AF_VSOCK", unix.AF_VSOCK},
	{"AF_KCM", unix.AF_KCM},
	{"AF_QIPCRTR", unix.AF_QIPCRTR},
	{"AF_SMC", unix.AF_SMC},
	{"AF_XDP", unix.AF_XDP},
	{"AF_MCTP", unix.AF_MCTP},
}

var socketTypes = [...]constant{
	{"SOCK_STREAM", 1},
	{"SOCK_DGRAM", 2},
	{"SOCK_RAW", unix.SOCK_RAW},
	{"SOCK_RDM", unix.SOCK_RDM},
	{"SOCK_SEQPACKET", unix.SOCK_SEQPACKET},
	{"SOCK_PACKET", unix.SOCK_PACKET},
	{"SOCK_CLOEXEC", 0x80000},
	{"SOCK_NONBLOCK", 0x800},
}

var cloneFlags = [...]constant{
	{"CLONE_NEWNS", unix.CLONE_NEWNS},
	{"CLONE_NEWCGROUP", unix.CLONE_NEWCGROUP},
	{"CLONE_NEWUTS", unix.CLONE_NEWUTS},
	{"CLONE_NEWIPC", unix.CLONE_NEWIPC},
	{"CLONE_NEWUSER", unix.CLONE_NEWUSER},
	{"CLONE_NEWPID", unix.CLONE_NEWPID},
	{"CLONE_NEWNET", unix.CLONE_NEWNET},
	{"CLONE_NEWTIME", unix.CLONE_NEWTIME},
	{"CLONE_VM", unix.CLONE_VM},
	{"CLONE_FS", unix.CLONE_FS},
	{"CLONE_FILES", unix.CLONE_FILES},
	{"CLONE_SIGHAND", unix.CLONE_SIGHAND},
	{"CLONE_PIDFD", unix.CLONE_PIDFD},
	{"CLONE_PTRACE", unix.CLONE_PTRACE},
	{"CLONE_VFORK", unix.CLONE_VFORK},
	{"CLONE_PARENT", unix.CLONE_PARENT},
	{"CLONE_THREAD", unix.CLONE_THREAD},
	{"CLONE_SYSVSEM", unix.CLONE_SYSVSEM},
	{"CLONE_SETTLS", unix.CLONE_SETTLS},
	{"CLONE_UNTRACED", unix.CLONE_UNTRACED},
	{"CLONE_IO", unix.CLONE_IO},
	{"SIGCHLD", 17},
}

// linux/personality.h
var personalities = [...]constant{
	{"PER_LINUX", 0},
	{"PER_LINUX32", 8},
	{"UNAME26", 0x20000},
	{"ADDR_NO_RANDOMIZE", 0x40000},
	{"FDPIC_FUNCPTRS", 0x80000},
	{"MMAP_PAGE_ZERO", 0x100000},
	{"ADDR_COMPAT_LAYOUT", 0x200000},
	{"READ_IMPLIES_EXEC", 0x400000},
	{"ADDR_LIMIT_32BIT", 0x800000},
	{"SHORT_INODE", 0x1000000},
	{"WHOLE_SECONDS", 0x2000000},
	{"STICKY_TIMEOUTS", 0x4000000},
	{"ADDR_LIMIT_3GB", 0x8000000},
}

var ptraceRequests = [...]constant{
	{"PTRACE_TRACEME", unix.PTRACE_TRACEME},
	{"PTRACE_PEEKTEXT", unix.PTRACE_PEEKTEXT},
	{"PTRACE_PEEKDATA", unix.PTRACE_PEEKDATA},
	{"PTRACE_POKETEXT", unix.PTRACE_POKETEXT},
	{"PTRACE_POKEDATA", unix.PTRACE_POKEDATA},
	{"PTRACE_CONT", unix.PTRACE_CONT},
	{"PTRACE_KILL", unix.PTRACE_KILL},
	{"PTRACE_ATTACH", unix.PTRACE_ATTACH},
	{"PTRACE_DETACH", unix.PTRACE_DETACH},
	{"PTRACE_SYSCALL", unix.PTRACE_SYSCALL},
	{"PTRACE_SEIZE", unix.PTRACE_SEIZE},
	{"PTRACE_SETOPTIONS", unix.PTRACE_SETOPTIONS},
	{"PTRACE_SECCOMP_GET_FILTER", unix.PTRACE_SECCOMP_GET_FILTER},
}

var openFlags = [...]constant{
	{"O_RDONLY", unix.O_RDONLY},
	{"O_WRONLY", unix.O_WRONLY},
	{"O_RDWR", unix.O_RDWR},
	{"O_CREAT", 0x40},
	{"O_EXCL", 0x80},
	{"O_NOCTTY", 0x100},
	{"O_TRUNC", 0x200},
	{"O_APPEND", 0x400},
	{"O_NONBLOCK", 0x800},
	{"O_DSYNC", 0x1000},
	{"O_DIRECTORY", 0x10000},
	{"O_NOFOLLOW", 0x20000},
	{"O_NOATIME", 0x40000},
	{"O_CLOEXEC", 0x80000},
	{"O_PATH", 0x200000},
	{"O_TMPFILE", 0x410000},
}

var mountFlags = [...]constant{
	{"MS_RDONLY", unix.MS_RDONLY},
	{"MS_NOSUID", unix.MS_NOSUID},
	{"MS_NODEV", unix.MS_NODEV},
	{"MS_NOEXEC", unix.MS_NOEXEC},
	{"MS_REMOUNT", unix.MS_REMOUNT},
	{"MS_BIND", unix.MS_BIND},
	{"MS_MOVE", unix.MS_MOVE},
	{"MS_REC", unix.MS_REC},
	{"MS_PRIVATE", unix.MS_PRIVATE},
	{"MS_SLAVE", unix.MS_SLAVE},
	{"MS_SHARED", unix.MS_SHARED},
	{"MS_UNBINDABLE", unix.MS_UNBINDABLE},
	{"MS_SYNCHRONOUS", unix.MS_SYNCHRONOUS},
	{"MS_MANDLOCK", unix.MS_MANDLOCK},
	{"MS_DIRSYNC", unix.MS_DIRSYNC},
	{"MS_NOSYMFOLLOW", unix.MS_NOSYMFOLLOW},
	{"MS_NOATIME", unix.MS_NOATIME},
	{"MS_NODIRATIME", unix.MS_NODIRATIME},
	{"MS_SILENT", unix.MS_SILENT},
	{"MS_POSIXACL", unix.MS_POSIXACL},
	{"MS_RELATIME", unix.MS_RELATIME},
	{"MS_STRICTATIME", unix.MS_STRICTATIME},
	{"MS_LAZYTIME", unix.MS_LAZYTIME},
}

var unmountFlags = [...]constant{
	{"MNT_FORCE", unix.MNT_FORCE},
	{"MNT_DETACH", unix.MNT_DETACH},
	{"MNT_EXPIRE", unix.MNT_EXPIRE},
	{"UMOUNT_NOFOLLOW", unix.UMOUNT_NOFOLLOW},
}

var protections = [...]constant{
	{"PROT_NONE", unix.PROT_NONE}, {"PROT_READ", unix.PROT_READ}, {"PROT_WRITE", unix.PROT_WRITE}, {"PROT_EXEC", unix.PROT_EXEC},
}

var mapFlags = [...]constant{
	{"MAP_SHARED", unix.MAP_SHARED}, {"MAP_PRIVATE", unix.MAP_PRIVATE}, {"MAP_FIXED", unix.MAP_FIXED}, {"MAP_ANONYMOUS", 0x20},
}

var fcntlCommands = [...]constant{
	{"F_DUPFD", unix.F_DUPFD},
	{"F_GETFD", unix.F_GETFD},
	{"F_SETFD", unix.F_SETFD},
	{"F_GETFL", unix.F_GETFL},
	{"F_SETFL", unix.F_SETFL},
	{"F_SETLK", 6},
	{"F_SETOWN", 8},
	{"F_ADD_SEALS", unix.F_ADD_SEALS},
	{"F_NOTIFY", unix.F_NOTIFY},
}

var ioctlRequests = [...]constant{
	{"TIOCSTI", 0x5412},
	{"TIOCLINUX", 0x541c},
	{"TIOCSCTTY", 0x540e},
	{"TIOCGPGRP", 0x540f},
	{"TIOCSPGRP", 0x5410},
	{"TIOCGWINSZ", 0x5413},
	{"TIOCSWINSZ", 0x5414},
	{"TIOCSETD", 0x5423},
	{"TIOCCONS", 0x541d},
	{"TCGETS", 0x5401},
	{"TCSETS", 0x5402},
	{"FIONREAD", 0x541b},
	{"TUNSETIFF", 0x400454ca},
	{"PERF_EVENT_IOC_ENABLE", 0x2400},
}

// linux/net.h: socketcall(2)'s first argument.
var socketCalls = [...]constant{
	{"SYS_SOCKET", 1},
	{"SYS_BIND", 2},
	{"SYS_CONNECT", 3},
	{"SYS_LISTEN", 4},
	{"SYS_ACCEPT", 5},
	{"SYS_GETSOCKNAME", 6},
	{"SYS_GETPEERNAME", 7},
	{"SYS_SOCKETPAIR", 8},
	{"SYS_SEND", 9},
	{"SYS_RECV", 10},
	{"SYS_SENDTO", 11},
	{"SYS_RECVFROM", 12},
	{"SYS_SHUTDOWN", 13},
	{"SYS_SETSOCKOPT", 14},
	{"SYS_GETSOCKOPT", 15},
	{"SYS_SENDMSG", 16},
	{"SYS_RECVMSG", 17},
	{"SYS_ACCEPT4", 18},
	{"SYS_RECVMMSG", 19},
	{"SYS_SENDMMSG", 20},
}

var seccompOperations = [...]constant{
	{"SECCOMP_SET_MODE_STRICT", unix.SECCOMP_SET_MODE_STRICT},
	{"SECCOMP_SET_MODE_FILTER", unix.SECCOMP_SET_MODE_FILTER},
	{"SECCOMP_GET_ACTION_AVAIL", unix.SECCOMP_GET_ACTION_AVAIL},
	{"SECCOMP_GET_NOTIF_SIZES", unix.SECCOMP_GET_NOTIF_SIZES},
}

var bpfCommands = [...]constant{
	{"BPF_MAP_CREATE", unix.BPF_MAP_CREATE},
	{"BPF_MAP_LOOKUP_ELEM", unix.BPF_MAP_LOOKUP_ELEM},
	{"BPF_MAP_UPDATE_ELEM", unix.BPF_MAP_UPDATE_ELEM},
	{"BPF_PROG_LOAD", unix.BPF_PROG_LOAD},
	{"BPF_OBJ_PIN", unix.BPF_OBJ_PIN},
	{"BPF_OBJ_GET", unix.BPF_OBJ_GET},
	{"BPF_PROG_ATTACH", unix.BPF_PROG_ATTACH},
	{"BPF_PROG_GET_NEXT_ID", unix.BPF_PROG_GET_NEXT_ID},
	{"BPF_MAP_GET_NEXT_ID", unix.BPF_MAP_GET_NEXT_ID},
	{"BPF_RAW_TRACEPOINT_OPEN", unix.BPF_RAW_TRACEPOINT_OPEN},
	{"BPF_BTF_LOAD", unix.BPF_BTF_LOAD},
	{"BPF_LINK_CREATE", unix.BPF_LINK_CREATE},
}

var accessModes = [...]constant{
	{"F_OK", 0},
	{"R_OK", unix.R_OK},
	{"W_OK", unix.W_OK},
	{"X_OK", unix.X_OK},
}

// asm-generic/resource.h
var resources = [...]constant{
	{"RLIMIT_CPU", unix.RLIMIT_CPU},
	{"RLIMIT_FSIZE", unix.RLIMIT_FSIZE},
	{"RLIMIT_DATA", unix.RLIMIT_DATA},
	{"RLIMIT_STACK", unix.RLIMIT_STACK},
	{"RLIMIT_CORE", unix.RLIMIT_CORE},
	{"RLIMIT_RSS", 5},
	{"RLIMIT_NPROC", 6},
	{"RLIMIT_NOFILE", 7},
	{"RLIMIT_MEMLOCK", 8},
	{"RLIMIT_AS", 9},
	{"RLIMIT_LOCKS", unix.RLIMIT_LOCKS},
	{"RLIMIT_SIGPENDING", unix.RLIMIT_SIGPENDING},
	{"RLIMIT_MSGQUEUE", unix.RLIMIT_MSGQUEUE},
	{"RLIMIT_NICE", unix.RLIMIT_NICE},
	{"RLIMIT_RTPRIO", unix.RLIMIT_RTPRIO},
	{"RLIMIT_RTTIME", unix.RLIMIT_RTTIME},
}

var schedulers = [...]constant{
	{"SCHED_OTHER", unix.SCHED_NORMAL},
	{"SCHED_FIFO", unix.SCHED_FIFO},
	{"SCHED_RR", unix.SCHED_RR},
	{"SCHED_BATCH", unix.SCHED_BATCH},
	{"SCHED_IDLE", unix.SCHED_IDLE},
}

var priorities = [...]constant{
	{"PRIO_PROCESS", unix.PRIO_PROCESS},
	{"PRIO_PGRP", unix.PRIO_PGRP},
	{"PRIO_USER", unix.PRIO_USER},
}

var clocks = [...]constant{
	{"CLOCK_REALTIME", unix.CLOCK_REALTIME},
	{"CLOCK_MONOTONIC", unix.CLOCK_MONOTONIC},
	{"CLOCK_BOOTTIME", unix.CLOCK_BOOTTIME},
	{"CLOCK_REALTIME_ALARM", unix.CLOCK_REALTIME_ALARM},
	{"CLOCK_BOOTTIME_ALARM", unix.CLOCK_BOOTTIME_ALARM},
	{"CLOCK_TAI", unix.CLOCK_TAI},
}

// constants returns the names for values of an argument. flags says whether they are bits
// that can be combined.
func constants(a Arch, call string, index int) (set []constant, flags bool) {
	switch {
	case call == "clone" && (a == S390 || a == S390X) && index < 2:
		index = 1 - index // CONFIG_CLONE_BACKWARDS2: the stack comes first (kernel/fork.c)
	case call == "mmap" && (a == X86 || a == S390 || a == S390X):
		return nil, false // sys_old_mmap: its only argument points to what others are given
	}
	switch fmt.Sprintf("%s/%d", call, index) {
	case "socket/0", "socketpair/0":
		return families[:], false
	case "socket/1", "socketpair/1":
		return socketTypes[:], true
	case "clone/0", "unshare/0", "setns/1":
		return cloneFlags[:], true
	case "personality/0":
		return personalities[:], true
	case "ptrace/0":
		return ptraceRequests[:], false
	case "keyctl/0":
		return keyctlOperations[:], false
	case "prctl/0":
		return prctlOperations[:], false
	case "open/1", "openat/2":
		return openFlags[:], true
	case "mount/3":
		return mountFlags[:], true
	case "umount2/1":
		return unmountFlags[:], true
	case "mmap/2", "mmap2/2", "mprotect/2", "pkey_mprotect/2":
		return protections[:], true
	case "mmap/3", "mmap2/3":
		return mapFlags[:], true
	case "fcntl/1", "fcntl64/1":
		return fcntlCommands[:], false
	case "ioctl/1":
		return ioctlRequests[:], false
	case "socketcall/0":
		return socketCalls[:], false
	case "seccomp/0":
		return seccompOperations[:], false
	case "bpf/0":
		return bpfCommands[:], false
	case "access/1", "faccessat/2", "faccessat2/2":
		return accessModes[:], true
	case "prlimit64/1", "setrlimit/0", "getrlimit/0":
		return resources[:], false
	case "sched_setscheduler/1":
		return schedulers[:], false
	case "setpriority/0", "getpriority/0":
		return priorities[:], false
	case "setsockopt/1", "getsockopt/1":
		return socketLevels[:], false
	case "kill/1", "tkill/1", "tgkill/2", "rt_sigqueueinfo/1", "rt_tgsigqueueinfo/2", "pidfd_send_signal/1", "rt_sigaction/0":
		return signals[:], false
	case "clock_settime/0", "clock_settime64/0", "clock_adjtime/0", "clock_adjtime64/0", "timerfd_create/0", "timer_create/0":
		return clocks[:], false
	}
	return nil, false
}

// Constant returns the value of a name for an argument of a call. Architectures differ in the
// order of arguments and in values; the zero Arch stands for most of them.
func Constant(a Arch, call string, index int, name string) (uint64, bool) {
	set, _ := constants(a, call, index)
	i := slices.IndexFunc(set, func(c constant) bool { return c.name == name })
	if i < 0 {
		return 0, false
	}
	return set[i].on(a), true
}

// Constants returns the names for an argument of a call on an architecture.
func Constants(a Arch, call string, index int) []string {
	set, _ := constants(a, call, index)
	names := make([]string, len(set))
	for i := range set {
		names[i] = set[i].name
	}
	return names
}

// Choices returns the names for an argument whose values are alternatives and not made of
// bits, one name for each value.
func Choices(a Arch, call string, index int) []string {
	set, flags := constants(a, call, index)
	if flags {
		return nil
	}
	var names []string
	for i := range set {
		if i == 0 || set[i].on(a) != set[i-1].on(a) { // AF_LOCAL is AF_UNIX
			names = append(names, set[i].name)
		}
	}
	return names
}

// ChoiceNoun returns the noun for a value of an argument that has [Choices].
func ChoiceNoun(call string, index int) string {
	switch fmt.Sprintf("%s/%d", call, index) {
	case "socket/0", "socketpair/0":
		return "family"
	case "ioctl/1", "ptrace/0":
		return "request"
	case "fcntl/1", "fcntl64/1", "bpf/0":
		return "command"
	case "prlimit64/1", "setrlimit/0", "getrlimit/0":
		return "resource"
	case "setsockopt/1", "getsockopt/1":
		return "level"
	case "kill/1", "tkill/1", "tgkill/2", "rt_sigqueueinfo/1", "rt_tgsigqueueinfo/2", "pidfd_send_signal/1", "rt_sigaction/0":
		return "signal"
	}
	return "operation"
}

// FormatArgument returns an argument as people write it: as a name if it has one, as names
// joined by | if it is made of bits, else as a number.
func FormatArgument(a Arch, call string, index int, value uint64) string {
	set, flags := constants(a, call, index)
	if i := slices.IndexFunc(set, func(c constant) bool { return c.on(a) == value }); i >= 0 {
		return set[i].name
	}
	if flags && value != 0 {
		var names []string
		rest := value
		for _, c := range set {
			if bits := c.on(a); bits != 0 && rest&bits == bits {
				names = append(names, c.name)
				rest &^= bits
			}
		}
		if rest == 0 {
			return strings.Join(names, "|")
		}
	}
	if value < 10 {
		return strconv.FormatUint(value, 10)
	}
	return fmt.Sprintf("%#x", value)
}
