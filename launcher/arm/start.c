// The launcher's side of a start in C: what New, Load, Install and WaitParked of Page do in
// Go, and the start of an init with a plan, for a launch that is carried out as it was kept
// (launcher/kept.h); Reopen and WaitExec for an engine's container (launcher/engine.h).
#define _GNU_SOURCE
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const int64_t MICROSECOND = 1000, MILLISECOND = 1000000, SECOND = 1000000000;

// page_new returns a memfd with a page, and maps it to *mem. texts are the cgroups, the
// arguments and the environment, count of each. born says that init will be born in the
// first cgroup. On failure it returns -1 with errno.
int page_new(void **mem, size_t *mem_size, const char *texts, size_t size, const uint32_t count[3], bool born,
	     const void *program, uint32_t instructions, uint32_t flags)
{
	size_t begin = sizeof(struct init_page) + instructions * sizeof(struct sock_filter);
	int fd = memfd_create("minirun-init", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	struct init_page *p = MAP_FAILED;
	if (ftruncate(fd, begin + size) == 0)
		p = mmap(NULL, begin + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		close(fd);
		return -1;
	}
	p->listener = -1;
	p->strings = begin;
	p->cgroups = count[0];
	p->args = count[1];
	p->env = count[2];
	p->joined = born;
	p->files = OWN_FILES;
	p->flags = flags;
	p->length = instructions;
	memcpy(p->program, program, instructions * sizeof(struct sock_filter));
	memcpy((char *)p + begin, texts, size);
	*mem = p;
	*mem_size = begin + size;
	return fd;
}

enum { INIT_FILES = 9 }; // standard files, the page and its pipe, the terminal's socket, namespaces to join, the plan, the program

// init_parts is what a child gets to become an init.
struct init_parts {
	const int *files;
	int count;
	char *name;
};

// become_init is the child, which shares the launcher's memory until execve(2): it changes
// none of it but errno and its stack.
static void become_init(const struct init_parts *parts)
{
	char variable[sizeof PLAN_VARIABLE + 16], program[32], *args[] = {parts->name, "init", NULL}, *env[] = {variable, NULL};
	int high[INIT_FILES], count = parts->count;
	setsid();
	if (chdir("/") < 0 || count > INIT_FILES)
		return;
	for (int i = 0; i < count; i++) {
		high[i] = fcntl(parts->files[i], F_DUPFD_CLOEXEC, count);
		if (high[i] < 0)
			return;
	}
	for (int i = 0; i < count; i++)
		if (dup2(high[i], i) < 0)
			return;
	snprintf(variable, sizeof variable, PLAN_VARIABLE "=%d", count - 2);
	snprintf(program, sizeof program, "/proc/self/fd/%d", count - 1);
	execve(program, args, env);
}

static _Noreturn void run_child(const struct init_parts *parts)
{
	become_init(parts);
	_exit(127);
}

// clone_child is clone3(2) for a child with a stack of its own, which calls run_child.
// syscall(3) cannot be used for that: it would return to a stack that the child does not
// have.
static long clone_child(const struct clone_args *args, const struct init_parts *parts)
{
#ifdef __x86_64__
	long result;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "mov %[parts], %%rdi\n\t"
			 "call *%[run]\n"
			 "1:"
			 : "=a"(result)
			 : "a"(SYS_clone3), "D"(args), "S"(sizeof *args), [parts] "r"(parts), [run] "r"(run_child)
			 : "rcx", "r11", "memory");
	return result;
#else
	struct clone_args copy = *args; // a fork, which has all of the memory
	copy.flags &= ~(uint64_t)(CLONE_VM | CLONE_VFORK);
	copy.stack = copy.stack_size = 0;
	long result = syscall(SYS_clone3, &copy, sizeof copy);
	if (result == 0)
		run_child(parts);
	return result < 0 ? -errno : result;
#endif
}

// init_start starts an init: files are its standard files, its page, the end of the page's
// pipe, the terminal's socket, namespaces that the plan joins, the plan, and the program to run it from, so many in
// all. It is born in namespaces of its own, CLONE_NEW*, and in a cgroup of version 2 unless
// that is -1. It returns its PID once it runs the program, or -1.
//
// Until then this process waits and lends its memory (vfork(2)): a copy of that would take
// longer than the rest of the call.
pid_t init_start(const int *files, int count, char *name, uint64_t namespaces, int cgroup, int *pidfd)
{
	static _Alignas(16) char stack[1 << 14];
	const struct init_parts parts = {files, count, name};
	const struct clone_args args = {
		.flags = namespaces | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | (cgroup < 0 ? 0 : CLONE_INTO_CGROUP),
		.pidfd = (uintptr_t)pidfd, .exit_signal = SIGCHLD, .cgroup = cgroup < 0 ? 0 : cgroup,
		.stack = (uintptr_t)stack, .stack_size = sizeof stack,
	};
	long pid = clone_child(&args, &parts);
	if (pid < 0)
		errno = -pid;
	return pid < 0 ? -1 : pid;
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

// closes reports whether the pipe closes within a pause, which is the longer the longer
// this has been waited for already (Page.wait).
static bool closes(int pipe, int64_t waited)
{
	int64_t pause = waited / 8, longest = waited > 100 * MILLISECOND ? 10 * MILLISECOND : MILLISECOND;
	pause = pause < 20 * MICROSECOND ? 20 * MICROSECOND : pause < longest ? pause : longest;
	struct pollfd end = {.fd = pipe, .events = POLLIN};
	return ppoll(&end, 1, &(struct timespec){.tv_nsec = pause}, NULL) > 0 && end.revents & POLLHUP;
}

static uint32_t state_of(const struct init_page *p)
{
	return __atomic_load_n(&p->state, __ATOMIC_SEQ_CST);
}

// is_woken waits until init leaves a state, for a while. It returns false after that.
static bool is_woken(const struct init_page *p, uint32_t state)
{
	struct timespec pause = {.tv_nsec = 10 * MILLISECOND}; // for an init that dies
	return syscall(SYS_futex, &p->state, FUTEX_WAIT, state, &pause, NULL, 0) == 0 || errno == EAGAIN;
}

// await waits until init has reached a state. It returns -1 when init fails, has ended, or
// does not get there in time.
static int await(const struct init_page *p, enum page_state wanted, int pipe, int64_t patience)
{
	for (int64_t begin = now(), waited = 0; waited < patience; waited = now() - begin) {
		uint32_t state = state_of(p);
		if (state == wanted)
			return 0;
		if (state == PAGE_FAILED)
			return -1;
		if (wanted == PAGE_PARKED && is_woken(p, state)) // under its filter init wakes nobody
			continue;
		if (closes(pipe, wanted == PAGE_PARKED ? 0 : waited))
			return -1;
	}
	return -1;
}

// page_await_parked waits until init has set up its container.
int page_await_parked(const void *mem, int pipe)
{
	const struct init_page *p = mem;
	if (await(p, PAGE_PARKED, pipe, 600 * SECOND) < 0)
		return -1;
	return p->joined == p->cgroups ? 0 : -1;
}

// page_arm has a parked init put itself under the program in the page, if there is one.
void page_arm(void *mem)
{
	struct init_page *p = mem;
	if (p->length == 0)
		return;
	__atomic_store_n(&p->state, PAGE_GO, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &p->state, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

// page_await_armed waits until it has.
int page_await_armed(const void *mem, int pipe)
{
	const struct init_page *p = mem;
	return p->length == 0 ? 0 : await(p, PAGE_ARMED, pipe, 30 * SECOND);
}

// page_await_exec waits until init has become the command, or has failed: -1.
int page_await_exec(const void *mem, int pipe)
{
	const struct init_page *p = mem;
	int64_t begin = now();
	while (state_of(p) != PAGE_FAILED && !closes(pipe, now() - begin))
		;
	return state_of(p) == PAGE_EXEC ? 0 : -1;
}

// open_again opens the end of a pipe that another process has another time: a copy of it
// would not close with that.
static int open_again(int copy)
{
	char path[32];
	snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
	int fd = copy < 0 ? -1 : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	close(copy);
	return fd;
}

// page_reopen takes the page of a parked init that another process has started, whose
// command is to get so many files, and the pipe that closes when it becomes that. It
// returns -1 if the process is no parked init, or if its filter has a listener, which Go
// must take.
int page_reopen(int pidfd, uint32_t kept, void **mem, size_t *size, int *pipe)
{
	struct stat st;
	int first = PAGE_FD + kept, file = syscall(SYS_pidfd_getfd, pidfd, first, 0);
	struct init_page *p = MAP_FAILED;
	if (file >= 0 && fstat(file, &st) == 0 && st.st_size >= (off_t)sizeof *p)
		p = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	*pipe = -1;
	if (p != MAP_FAILED && state_of(p) == PAGE_PARKED && !(p->flags & SECCOMP_FILTER_FLAG_NEW_LISTENER))
		*pipe = open_again(syscall(SYS_pidfd_getfd, pidfd, first + 1, 0));
	if (*pipe >= 0) {
		*mem = p;
		*size = st.st_size;
		return file;
	}
	if (p != MAP_FAILED)
		munmap(p, st.st_size);
	if (file >= 0)
		close(file);
	return -1;
}
