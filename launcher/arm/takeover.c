// The end of a container's init, in place of libcontainer's own, which would be Go
// under the filter. This is what libcontainer does after its last message (Init in
// standard_init_linux.go), and what does it here:
//
//	closes its socket and its log pipe    close_files
//	waits for its FIFO to be opened       exec_under_filter waits in the page
//	runs StartContainer hooks             minirun has none
//	closes every file that it has not     close_files. Nothing of the host's may be
//	passed on (CVE-2024-21626)            reached by way of a descriptor
//	execve(2)                             exec_under_filter
//
// All else is done by then, and is the thread's own, which makes the execve: the
// working directory, checked to be inside the root; user, groups, capabilities,
// no_new_privs; the labels of AppArmor and SELinux for the execve; session keyring,
// scheduling, memory policy, personality, parent-death signal, limits.
#define _GNU_SOURCE
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	OWN_THREADS = 2, // the main thread and the arming thread
	SECONDS = 10,    // to end the others in; it takes some 0.1 ms
	SIGNALS = 64,    // _NSIG of the kernel: 1 to 64
	MASK_SIZE = 8,   // sizeof(sigset_t) of the kernel
};

_Noreturn void exec_under_filter(const char *path, char **argv, char **envp);

char *next_string(char *text)
{
	return text + strlen(text) + 1;
}

static char *arguments(void)
{
	char *text = (char *)page + page->strings;
	for (uint32_t i = 0; i < page->cgroups; i++)
		text = next_string(text);
	return text;
}

const char *command(void)
{
	return arguments();
}

int has_home(void)
{
	char *text = arguments();
	for (uint32_t i = 0; i < page->args; i++)
		text = next_string(text);
	for (uint32_t i = 0; i < page->env; i++, text = next_string(text))
		if (strncmp(text, "HOME=", strlen("HOME=")) == 0)
			return 1;
	return 0;
}

// vector returns n pointers to texts that lie one after another, room for one more,
// and a NULL, and moves *text behind them. Its memory is the kernel's, not malloc's,
// which has locks.
static char **vector(char **text, uint32_t n)
{
	size_t size = ((size_t)n + 2) * sizeof(char *);
	char **v = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (v == MAP_FAILED)
		fail_init(STEP_EXEC, errno);
	for (uint32_t i = 0; i < n; i++) {
		v[i] = *text;
		*text = next_string(*text);
	}
	return v;
}

static void end_thread(int number)
{
	(void)number;
	syscall(SYS_exit, 0);
}

// end_threads ends the Go runtime's threads, which would go on making calls. A
// signal to the process reaches a thread that does not block it, so one of them;
// SIGURG is not blocked by any, not even by that of os/signal (ensureSigM of
// runtime/signal_unix.go). How many threads there are is the number of links of the
// directory, less 2, in any procfs, whatever PID namespace that is of (fs/proc/base.c,
// proc_task_getattr).
int end_threads(unsigned own)
{
	struct sigaction act = {.sa_handler = end_thread, .sa_flags = SA_ONSTACK};
	sigfillset(&act.sa_mask);
	if (sigaction(SIGURG, &act, NULL) < 0)
		return errno;
	struct timespec begin, now;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned round = 0;; round++) {
		struct stat st;
		if (stat("/proc/self/task", &st) < 0)
			return errno;
		if (st.st_nlink == 2 + own)
			return 0;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - begin.tv_sec > SECONDS)
			return ETIME;
		kill(getpid(), SIGURG); // a thread that is just being made blocks it
		if (round < 128)
			sched_yield();
		else
			nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
	}
}

struct dirent64_head { // struct linux_dirent64, getdents64(2)
	uint64_t ino;
	int64_t off;
	uint16_t length;
	uint8_t type;
	char name[];
};

// close_each is close_range(2) for Linux before 5.9. A thread may have ended with a
// lock of malloc's, so opendir(3) will not do.
static int close_each(unsigned first)
{
	int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno;
	_Alignas(8) char buffer[4096];
	long n;
	while ((n = syscall(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
		for (long at = 0; at < n;) {
			struct dirent64_head *entry = (struct dirent64_head *)(buffer + at);
			at += entry->length;
			int fd = 0;
			for (const char *c = entry->name; *c >= '0' && *c <= '9'; c++)
				fd = fd * 10 + *c - '0';
			if (fd >= (int)first && fd != dir)
				close(fd);
		}
	}
	int error = n < 0 ? errno : 0;
	close(dir);
	return error;
}

// keep_files moves the files that the command gets to where it looks for them, and the
// page's own behind them.
static int keep_files(void)
{
	int kept = (int)page->kept, own[OWN_FILES];
	if (kept == 0)
		return 0;
	for (int i = 0; i < OWN_FILES; i++) {
		own[i] = fcntl(PAGE_FD + i, F_DUPFD_CLOEXEC, PAGE_FD + OWN_FILES + kept);
		if (own[i] < 0)
			return errno;
	}
	for (int i = 0; i < kept; i++)
		if (dup2(PAGE_FD + OWN_FILES + i, PAGE_FD + i) < 0)
			return errno;
	for (int i = 0; i < OWN_FILES; i++)
		if (dup2(own[i], PAGE_FD + kept + i) < 0)
			return errno;
	return 0;
}

// close_files closes all files but the standard ones and those from PAGE_FD on that
// were passed on, which execve(2) closes, except for those that the command gets.
static int close_files(void)
{
	unsigned first = PAGE_FD + page->files;
	for (unsigned fd = PAGE_FD + page->kept; fd < first; fd++)
		if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
			return errno;
	if (syscall(SYS_close_range, first, ~0U, 0) == 0)
		return 0;
	return page->joins ? errno : close_each(first);
}

// reset_signals gives every signal its default disposition: no handler of the Go
// runtime's runs any more, and nothing that the launcher's caller has ignored stays
// ignored (nohup(1)), as with Docker. These are the kernel's own calls, since glibc
// keeps two signals to itself; zeroes are SIG_DFL, no flags and no mask in the
// structs of all architectures. It drops a SIGURG that no thread took: the default is to
// ignore it.
static void reset_signals(void)
{
	unsigned long act[8] = {(unsigned long)SIG_DFL};
	for (int number = 1; number <= SIGNALS; number++)
		syscall(SYS_rt_sigaction, number, act, NULL, MASK_SIZE); // SIGKILL and SIGSTOP are refused
}

static void block_signals(uint64_t mask)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, MASK_SIZE);
}

_Noreturn void run_command(const char *path, char *home)
{
	char *text = arguments();
	char **argv = vector(&text, page->args);
	char **envp = vector(&text, page->env);
	envp[page->env] = home;
	block_signals(~0ULL);
	int error = keep_files();
	if (!error)
		error = close_files();
	if (error)
		fail_init(STEP_FILES, error);
	reset_signals();
	block_signals(0);
	exec_under_filter(path, argv, envp);
}

_Noreturn void take_over(const char *path, char *home)
{
	block_signals(~0ULL);
	int error = end_threads(OWN_THREADS);
	if (error)
		fail_init(STEP_THREADS, error);
	run_command(path, home);
}
