package record

// RuntimeCalls returns the calls that an engine's runtime makes itself between installing the
// filter and the command's execve, with no_new_privs and without: those of runc 1.1 to 1.3 with the Go
// runtime, and of crun 1.8 (container_init of src/libcrun/container.c), which Podman and CRI-O have. A runtime
// goes on when fchown is denied, but the command's user then cannot open /dev/stdout. minirun makes none but
// execve.
func RuntimeCalls() []string {
	return []string{
		"capget", "capset", "chdir", "close", "close_range", "epoll_ctl", "epoll_pwait", "execve", "faccessat2", "fchdir",
		"fchown", "fcntl", "fstat", "fstatfs", "futex", "getcwd", "getdents64", "getpid", "getppid", "gettid", "lseek",
		"madvise", "mmap", "munmap", "nanosleep", "newfstatat", "openat", "openat2", "prctl", "pselect6", "read", "readlinkat",
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_yield", "select", "setgid", "setgroups", "setresgid",
		"setresuid", "setuid", "statx", "tgkill", "write",
	}
}

// InitCalls returns the calls of the init that an engine adds as PID 1 (docker run --init), until it has
// started the command and afterwards: those of Docker's, tini 0.19, and Podman's, catatonit 0.1.7, each linked
// statically with glibc 2.36.
func InitCalls() []string {
	return []string{
		"access", "arch_prctl", "brk", "clone", "close", "close_range", "execve", "exit_group", "getegid", "geteuid",
		"getgid", "getpgrp", "getpid", "getppid", "getrandom", "getuid", "ioctl", "kill", "mmap", "mprotect", "munmap",
		"newfstatat", "openat", "prctl", "pread64", "prlimit64", "read", "readlink", "rseq", "rt_sigaction", "rt_sigprocmask",
		"rt_sigtimedwait", "set_robust_list", "set_tid_address", "setpgid", "signalfd4", "wait4", "write",
	}
}
