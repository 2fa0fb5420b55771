// The children of the waiting launcher: this binary as a Go program, for one task each.
#define _GNU_SOURCE
#include "guard.h"
#include "signals.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const int64_t PATIENCE = 1000000000; // ns

// keep_files closes all files that a task does not need. The rest of what the launcher has is
// not the child's: the user's files, the container's pipes, sockets and locks, which would
// stay open for as long as the child is kept from ending.
static void keep_files(enum wait_task task)
{
	int files[] = {
		record->self,
		task == WAIT_SAY_END && record->failure == WAIT_EXEC ? record->page : -1,
		task == WAIT_REMOVE || task == WAIT_ATTACH ? record->lock : -1,
		task == WAIT_ATTACH ? record->attach : -1,
		task == WAIT_ATTACH ? record->from[STREAM_OUT] : -1,
		task == WAIT_ATTACH ? record->from[STREAM_ERR] : -1,
		task == WAIT_ATTACH ? record->to[STREAM_IN] : -1,
		task == WAIT_ATTACH ? record->slave : -1,
		task == WAIT_ATTACH ? record->said : -1,
		task == WAIT_ATTACH ? record->end : -1,
	};
	unsigned first = STDERR_FILENO + 1;
	for (;;) {
		unsigned next = ~0U; // the lowest number from first on that is kept
		for (size_t i = 0; i < sizeof files / sizeof *files; i++)
			if (files[i] >= (int)first && (unsigned)files[i] < next)
				next = files[i];
		if (next > first)
			close_files(first, next == ~0U ? next : next - 1);
		if (next == ~0U)
			break;
		fcntl(next, F_SETFD, 0);
		first = next + 1;
	}
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
}

// The child has its own session, since signals to this process's group would end it.
pid_t in_go(enum wait_task task)
{
	char number[32];
	snprintf(number, sizeof number, "%d,%d", record->self, task);
	pid_t child = fork();
	if (child != 0)
		return child;
	setsid();
	signals_drop(); // those that came before setsid; the Go runtime unblocks all, whatever the mask was at its start
	keep_files(task);
	setenv(REST_VARIABLE, number, 1);
	execve("/proc/thread-self/exe", wait_arguments, environ);
	dprintf(STDERR_FILENO, "minirun: end the launch: execve: %s\n", strerror(errno));
	_exit(125);
}

int reap(pid_t child)
{
	int status = 0;
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

// A signal that asks for the end ends the wait for a reader of the container's output in the
// same way (wait_signals.c).
int reap_speaker(pid_t child)
{
	int64_t kill_at = record->unread ? wait_now() + PATIENCE : 0;
	int end = child > 0 ? syscall(SYS_pidfd_open, child, 0) : -1;
	for (bool ended = end < 0; !ended;) {
		struct poll_set set = {0};
		int at = poll_add(&set, end, POLLIN), asked = signals_add(&set);
		poll_until(&set, kill_at);
		poll_wait(&set);
		ended = set.files[at].revents;
		if (set.files[asked].revents && signals_ask() && !kill_at)
			kill_at = wait_now() + PATIENCE;
		if (kill_at && wait_now() >= kill_at) {
			kill(child, SIGKILL);
			ended = true;
		}
	}
	close(end);
	return reap(child);
}
