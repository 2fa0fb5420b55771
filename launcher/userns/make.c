// A namespace is made by a process that is born in it. The process waits until its parent has
// opened it, and ends.
#define _GNU_SOURCE
#include "../arm/libc.h"
#include "make.h"
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK = 16384 };

// wait_for_end runs in the parent's memory, beside the parent: it calls nothing but the kernel.
static int wait_for_end(void *pipe)
{
	const int *ends = pipe;
	char byte;
	syscall(SYS_close, ends[1]); // or it would wait for itself
	syscall(SYS_read, ends[0], &byte, 1);
	syscall(SYS_exit_group, 0);
	return 0;
}

static int write_map(pid_t pid, const char *file, const char *text)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	return userns_write(path, text);
}

static int open_namespace(pid_t pid, const char *kind)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kind);
	return open(path, O_RDONLY | O_CLOEXEC);
}

// take maps the IDs of a process's namespace, and opens it.
static struct made take(pid_t pid, uint32_t first, uint32_t count, int network)
{
	struct made made = {.user = -1, .network = -1};
	char map[64];
	snprintf(map, sizeof map, "0 %u %u", first, count);
	if (write_map(pid, "uid_map", map) < 0 || write_map(pid, "gid_map", map) < 0) {
		made.failed = MAKE_MAP;
		made.error = errno;
		return made;
	}
	made.user = open_namespace(pid, "user");
	if (made.user >= 0 && network)
		made.network = open_namespace(pid, "net");
	if (made.user < 0 || (network && made.network < 0)) {
		made.failed = MAKE_OPEN;
		made.error = errno;
		close(made.user);
	}
	return made;
}

// The process shares the caller's memory, since to copy that of a Go program takes longer than
// all the rest. It gets no signal: its handlers would be those of the Go runtime.
struct made make_user_namespace(uint32_t first, uint32_t count, int network)
{
	struct made made = {.failed = MAKE_CLONE, .user = -1, .network = -1};
	_Alignas(16) char stack[STACK];
	int ends[2];
	sigset_t all, before;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		made.error = errno;
		return made;
	}
	all_signals(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = clone(wait_for_end, stack + STACK, CLONE_VM | CLONE_NEWUSER | (network ? CLONE_NEWNET : 0), ends);
	made.error = errno;
	if (pid > 0)
		made = take(pid, first, count, network);
	close(ends[1]);
	if (pid > 0)
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	close(ends[0]);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return made;
}
