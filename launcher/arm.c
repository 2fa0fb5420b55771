#define _GNU_SOURCE
#include "arm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

rlim_t soft_nofile;

__attribute__((constructor)) static void note_limits(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		soft_nofile = limit.rlim_cur;
}

static int futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0) < 0 ? errno : 0;
}

static void answer(struct arm_page *page, uint32_t state, int error)
{
	page->error = error;
	atomic_store(&page->state, state);
}

// After the answer no system call of this thread may matter: whatever the
// profile says of futex (even "kill"), execve ends the thread. A futex that
// does not block leaves a spin, not a loop of denied calls.
static void rest(struct arm_page *page)
{
	while (futex(&page->state, FUTEX_WAIT, atomic_load(&page->state)) == EINTR)
		;
	for (;;)
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void *arm(void *arg)
{
	struct arm_page *page = arg;

	// setuid(2) by glibc reaches every thread and would take the
	// capabilities of this one; the bit is per thread (capabilities(7)).
	int bits = prctl(PR_GET_SECUREBITS);
	if (bits < 0 || prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP) < 0) {
		answer(page, ARM_FAILED, errno);
		futex(&page->state, FUTEX_WAKE, INT_MAX);
		return NULL;
	}

	atomic_store(&page->state, ARM_READY);
	futex(&page->state, FUTEX_WAKE, INT_MAX);
	while (atomic_load(&page->state) != ARM_GO)
		futex(&page->state, FUTEX_WAIT, ARM_READY);

	struct sock_fprog program = {
		.len = page->length,
		.filter = page->program,
	};
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			      page->flags | SECCOMP_FILTER_FLAG_TSYNC, &program);
	if (result == 0)
		answer(page, ARM_DONE, 0);
	else // a positive result is the thread that could not follow (seccomp(2))
		answer(page, ARM_FAILED, result < 0 ? errno : ESRCH);
	rest(page);
	return NULL;
}

int arm_start(int fd)
{
	struct stat st;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fstat(fd, &st) < 0)
		return errno;
	struct arm_page *page = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return errno;

	sigset_t all, old;
	sigfillset(&all);
	int error = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (error)
		return error;
	pthread_t thread;
	error = pthread_create(&thread, NULL, arm, page);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		return error;

	while (atomic_load(&page->state) == ARM_NEW)
		futex(&page->state, FUTEX_WAIT, ARM_NEW);
	return atomic_load(&page->state) == ARM_READY ? 0 : page->error;
}
