// How a container's init comes under its filter. Two threads are left by then:
// the main one, without capabilities, and the arming thread, which has kept them.
// Under the filter neither makes a call except execve(2).
#define _GNU_SOURCE
#include "libc.h"
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_TSYNC_ESRCH // linux/seccomp.h before Linux 5.7
#define SECCOMP_FILTER_FLAG_TSYNC_ESRCH (1UL << 4)
#endif
#ifndef UFFD_USER_MODE_ONLY // linux/userfaultfd.h before Linux 5.11
#define UFFD_USER_MODE_ONLY 1
#endif

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void store(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

static void wait_while(uint32_t *word, uint32_t value)
{
	while (load(word) == value)
		syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void enter(uint32_t state)
{
	store(&page->state, state);
	syscall(SYS_futex, &page->state, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

// failed is enter(PAGE_FAILED) without a call.
static void failed(uint32_t step, int error)
{
	page->step = step;
	page->error = error;
	store(&page->state, PAGE_FAILED);
}

_Noreturn void fail_init(uint32_t step, int error)
{
	failed(step, error);
	_exit(255);
}

// new_trap returns memory that nobody fills: a thread that reads it sleeps in the page
// fault until it is killed (userfaultfd(2), Linux 4.11). It returns NULL if the kernel
// refuses that.
static volatile char *new_trap(void)
{
	size_t size = sysconf(_SC_PAGESIZE);
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0 && errno == EINVAL) // Linux before 5.11
		fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0)
		return NULL;
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register trap = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	void *memory = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	trap.range = (struct uffdio_range){.start = (uintptr_t)memory, .len = size};
	if (memory == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &trap) < 0)
		return NULL;
	return memory; // fd stays open: the trap would end with it
}

// stay waits for the end without a call: execve(2) ends the other threads, the
// launcher kills an init that failed. Without a trap that takes processor time.
static _Noreturn void stay(volatile char *trap)
{
	if (trap)
		(void)*trap;
	for (;;)
		__asm__ volatile("" ::: "memory");
}

// await_quiet returns once the main thread is inside its last call before execve(2),
// so that the filter does not see that call: the kernel moves from one futex to the
// other only a thread that waits, and says how many it has moved.
static void await_quiet(void)
{
	while (syscall(SYS_futex, &page->quiet, FUTEX_CMP_REQUEUE, 0, 1, &page->asleep, 0) != 1)
		sched_yield();
	store(&page->quiet, 1);
}

static void *arm(void *unused)
{
	// setuid(2) by glibc reaches every thread and would take the
	// capabilities of this one; the bit is per thread (capabilities(7)).
	int bits = prctl(PR_GET_SECUREBITS);
	if (bits < 0 || prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP) < 0)
		fail_init(STEP_FILTER, errno);
	enter(PAGE_READY);

	for (uint32_t state; (state = load(&page->state)) != PAGE_GO;)
		wait_while(&page->state, state);
	volatile char *trap = new_trap();
	await_quiet();

	struct sock_fprog program = {
		.len = page->length,
		.filter = page->program,
	};
	uint32_t flags = page->flags | SECCOMP_FILTER_FLAG_TSYNC;
	if (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) // Linux 5.7: the result cannot be a thread then
		flags |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (result >= 0 && flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
		page->listener = (int32_t)result;
	else if (result != 0) { // a positive result is the thread that could not follow (seccomp(2))
		failed(STEP_FILTER, result < 0 ? errno : ESRCH);
		stay(trap);
	}
	store(&page->state, PAGE_ARMED);
	stay(trap);
	return NULL;
}

int arm_start(void)
{
	sigset_t all, old;
	all_signals(&all);
	int error = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (error)
		return error;
	pthread_t thread;
	error = pthread_create(&thread, NULL, arm, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		return error;
	wait_while(&page->state, PAGE_NEW);
	return 0;
}

_Noreturn void exec_under_filter(const char *path, char **argv, char **envp)
{
	enter(PAGE_PARKED);
	wait_while(&page->quiet, 0);
	// From here on no call but execve(2).
	while (load(&page->state) != PAGE_RUN)
		;
	store(&page->state, PAGE_EXEC);
	int error;
	do
		error = syscall(SYS_execve, path, argv, envp) < 0 ? errno : EPROTO; // 0: an agent (seccomp_unotify(2)) has answered in the kernel's place
	while (error == EINTR);
	for (size_t i = 0; i < sizeof page->path - 1 && path[i]; i++)
		page->path[i] = path[i];
	failed(STEP_EXEC, error);
	stay(NULL);
}
