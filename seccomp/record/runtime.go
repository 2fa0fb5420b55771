package record

// RuntimeCalls returns the calls that Docker's runtime makes itself between installing the
// filter and the command's execve: those of runc 1.1 to 1.3 and of the Go runtime, with
// no_new_privs and without. minirun makes none but execve.
func RuntimeCalls() []string {
	return []string{
		"capget", "capset", "chdir", "close", "close_range", "epoll_ctl", "epoll_pwait", "execve", "faccessat2", "fchdir",
		"fcntl", "fstat", "fstatfs", "futex", "getcwd", "getdents64", "getpid", "getppid", "gettid", "lseek", "madvise",
		"mmap", "munmap", "nanosleep", "newfstatat", "openat", "openat2", "prctl", "read", "readlinkat", "rt_sigaction",
		"rt_sigprocmask", "rt_sigreturn", "sched_yield", "setgid", "setgroups", "setuid", "statx", "tgkill", "write",
	}
}
