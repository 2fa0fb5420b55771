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
