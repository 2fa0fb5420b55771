#define _GNU_SOURCE
#include "arm/libc.h"
#include "guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { INIT = 0, LAUNCHER = 1, REST = 2 }; // the guard's descriptors

void close_files(unsigned first, unsigned last)
{
	if (syscall(SYS_close_range, first, last, 0) == 0) // Linux 5.9
		return;
	struct rlimit limit = {.rlim_cur = 1 << 20};
	getrlimit(RLIMIT_NOFILE, &limit);
	for (rlim_t fd = first; fd < limit.rlim_cur && fd <= last; fd++)
		close(fd);
}

// keep_only closes all files except the two: a guard must not hold the user's terminal or
// pipes, or the launcher's locks.
static void keep_only(int init, int launcher)
{
	dup2(init, INIT);
	dup2(launcher, LAUNCHER);
	close_files(REST, ~0U);
}

// guard runs with all signals blocked, possibly in a fork of one thread of a Go program. So
// it must not call the Go runtime, nor anything that takes a lock.
static void guard(int init, int launcher)
{
	setsid(); // no signal to the launcher's group or terminal shall reach it
	prctl(PR_SET_NAME, "minirun-guard");
	keep_only(init, launcher);
	if (chdir("/") < 0)
		_exit(1); // cannot be

	struct pollfd ends[] = {{.fd = INIT, .events = POLLIN}, {.fd = LAUNCHER, .events = POLLIN}};
	while (poll(ends, 2, -1) < 0)
		;
	if (ends[LAUNCHER].revents != 0)
		syscall(SYS_pidfd_send_signal, INIT, SIGKILL, NULL, 0); // Linux 5.1
	_exit(0);
}

enum { ARENA = 64 << 20 }; // size and alignment of an arena of the Go heap

// leave_heap excludes the arena of the Go heap that has an object from the next fork
// (MADV_DONTFORK), or includes it again (MADV_DOFORK). The guard needs none of the heap, and
// the launcher would have to copy each shared page that it writes to. Thread stacks are
// elsewhere.
static void leave_heap(const void *object, int advice)
{
	if (object && sizeof(object) == 8)
		madvise((void *)((uintptr_t)object / ARENA * ARENA), ARENA, advice);
}

int guard_start(int init, int launcher, const void *object)
{
	sigset_t all, old;
	all_signals(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	leave_heap(object, MADV_DONTFORK);
	pid_t pid = fork();
	if (pid == 0)
		guard(init, launcher);
	int error = errno;
	leave_heap(object, MADV_DOFORK);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return pid < 0 ? -error : pid;
}
