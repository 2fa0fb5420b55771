package syscalls

import "strings"

// groups are sets of calls with one purpose, based on those of systemd's SystemCallFilter=
// (systemd.exec(5)), sorted by name.
var groups = [...]struct{ name, doc, calls string }{
	{"@aio", "asynchronous I/O", "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit io_uring_enter io_uring_register io_uring_setup"},
	{"@basic-io", "reading and writing what is open", "_llseek close close_range dup dup2 dup3 lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readv write writev"},
	{"@chown", "changing the owner of files", "chown chown32 fchown fchown32 fchownat lchown lchown32"},
	{"@clock", "setting the time", "adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday stime"},
	{"@cpu-emulation", "running code of older processors", "modify_ldt subpage_prot switch_endian vm86 vm86old"},
	{"@debug", "looking into programs and measuring them", "lookup_dcookie perf_event_open pidfd_getfd process_vm_readv process_vm_writev ptrace rtas s390_runtime_instr sys_debug_setcontext"},
	{"@file-system", "opening, making, renaming and removing files", "access chdir chmod close creat faccessat faccessat2 fallocate fchdir fchmod fchmodat fchmodat2 fcntl fcntl64 fgetxattr file_getattr file_setattr flistxattr fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat newfstatat oldfstat oldlstat oldstat open openat openat2 readlink readlinkat removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat stat64 statfs statfs64 statx symlink symlinkat truncate truncate64 unlink unlinkat utime utimensat utimensat_time64 utimes"},
	{"@io-event", "waiting for files", "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select"},
	{"@ipc", "talking between processes of one machine", "ipc memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 process_madvise process_vm_readv process_vm_writev semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget"},
	{"@keyring", "the kernel's keys", "add_key keyctl request_key"},
	{"@memlock", "keeping memory from being swapped out", "mlock mlock2 mlockall munlock munlockall"},
	{"@module", "loading kernel modules", "delete_module finit_module init_module"},
	{"@mount", "mounting and changing the root", "chroot fsconfig fsmount fsopen fspick listmount mount mount_setattr move_mount open_tree open_tree_attr pivot_root statmount umount umount2"},
	{"@network-io", "sockets", "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair"},
	{"@obsolete", "calls that nothing should use", "_sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx prof profil putpmsg query_module security sgetmask ssetmask stime stty sysfs tuxcall ulimit uselib ustat vserver"},
	{"@process", "starting, waiting for and ending processes", "capget clone clone3 execve execveat exit exit_group fork getrusage kill pidfd_open pidfd_send_signal prctl rt_sigqueueinfo rt_tgsigqueueinfo setns tgkill times tkill unshare vfork wait4 waitid waitpid"},
	{"@raw-io", "the hardware itself", "ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read s390_pci_mmio_write"},
	{"@reboot", "rebooting, and another kernel", "kexec_file_load kexec_load reboot"},
	{"@resources", "limits and priorities", "ioprio_set mbind migrate_pages move_pages nice sched_setaffinity sched_setattr sched_setparam sched_setscheduler set_mempolicy set_mempolicy_home_node setpriority setrlimit"},
	{"@sandbox", "giving up rights", "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp"},
	{"@setuid", "changing user and group", "setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32"},
	{"@signal", "handling signals", "rt_sigaction rt_sigpending rt_sigprocmask rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigsuspend"},
	{"@swap", "swap space", "swapoff swapon"},
	{"@sync", "writing to the disk", "fdatasync fsync msync sync sync_file_range sync_file_range2 syncfs"},
	{"@timer", "timers and alarms", "alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times"},
}

// Groups returns the names of all groups, which start with @, sorted.
func Groups() []string {
	all := make([]string, len(groups))
	for i := range groups {
		all[i] = groups[i].name
	}
	return all
}

// Group returns the calls of a group, sorted.
func Group(name string) ([]string, bool) {
	for i := range groups {
		if groups[i].name == name {
			return strings.Fields(groups[i].calls), true
		}
	}
	return nil, false
}

// GroupDoc returns in a few words what a group's calls are for, or "".
func GroupDoc(name string) string {
	for i := range groups {
		if groups[i].name == name {
			return groups[i].doc
		}
	}
	return ""
}
