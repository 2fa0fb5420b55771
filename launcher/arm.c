#define _GNU_SOURCE
#include "page.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0) < 0 ? errno : 0;
}

static void answer(uint32_t state, int error)
{
	page->error = error;
	atomic_store(&page->state, state);
}

// After the answer no system call of this thread may matter: whatever the
// profile says of futex (even "kill"), execve ends the thread. A futex that
// does not block leaves a spin, not a loop of denied calls.
static void rest(void)
{
	while (futex(&page->state, FUTEX_WAIT, atomic_load(&page->state)) == EINTR)
		;
	for (;;)
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void *arm(void *unused)
{
	// setuid(2) by glibc reaches every thread and would take the
	// capabilities of this one; the bit is per thread (capabilities(7)).
	int bits = prctl(PR_GET_SECUREBITS);
	if (bits < 0 || prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP) < 0) {
		answer(PAGE_FAILED, errno);
		futex(&page->state, FUTEX_WAKE, INT_MAX);
		return NULL;
	}

	atomic_store(&page->state, PAGE_READY);
	futex(&page->state, FUTEX_WAKE, INT_MAX);
	while (atomic_load(&page->state) != PAGE_GO)
		futex(&page->state, FUTEX_WAIT, PAGE_READY);

	struct sock_fprog program = {
		.len = page->length,
		.filter = page->program,
	};
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			      page->flags | SECCOMP_FILTER_FLAG_TSYNC, &program);
	if (result == 0)
		answer(PAGE_DONE, 0);
	else // a positive result is the thread that could not follow (seccomp(2))
		answer(PAGE_FAILED, result < 0 ? errno : ESRCH);
	rest();
	return NULL;
}

int arm_start(void)
{
	sigset_t all, old;
	sigfillset(&all);
	int error = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (error)
		return error;
	pthread_t thread;
	error = pthread_create(&thread, NULL, arm, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		return error;

	while (atomic_load(&page->state) == PAGE_NEW)
		futex(&page->state, FUTEX_WAIT, PAGE_NEW);
	return atomic_load(&page->state) == PAGE_READY ? 0 : page->error;
}
