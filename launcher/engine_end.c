#define _GNU_SOURCE
#include "engine.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

// sigabbrev_np(3) is glibc's alone.
static const char *const signal_names[] = {
	[SIGHUP] = "HUP", [SIGINT] = "INT", [SIGQUIT] = "QUIT", [SIGILL] = "ILL", [SIGTRAP] = "TRAP",
	[SIGABRT] = "ABRT", [SIGBUS] = "BUS", [SIGFPE] = "FPE", [SIGKILL] = "KILL", [SIGUSR1] = "USR1",
	[SIGSEGV] = "SEGV", [SIGUSR2] = "USR2", [SIGPIPE] = "PIPE", [SIGALRM] = "ALRM", [SIGTERM] = "TERM",
	[SIGSTKFLT] = "STKFLT", [SIGCHLD] = "CHLD", [SIGCONT] = "CONT", [SIGSTOP] = "STOP", [SIGTSTP] = "TSTP",
	[SIGTTIN] = "TTIN", [SIGTTOU] = "TTOU", [SIGURG] = "URG", [SIGXCPU] = "XCPU", [SIGXFSZ] = "XFSZ",
	[SIGVTALRM] = "VTALRM", [SIGPROF] = "PROF", [SIGWINCH] = "WINCH", [SIGIO] = "IO", [SIGPWR] = "PWR", [SIGSYS] = "SYS",
};

int engine_signal(const char *text)
{
	if (!text)
		return SIGTERM;
	char *rest;
	long number = strtol(text, &rest, 10);
	if (text[0] >= '1' && text[0] <= '9' && *rest == '\0')
		return number <= SIGRTMAX ? number : -1;
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	for (int i = 1; i <= SIGSYS; i++)
		if (strcasecmp(text, signal_names[i]) == 0)
			return i;
	return -1;
}

// SIGKILL does nothing to a container that is frozen until it is thawed, which is Go's.
bool engine_kill(int dir, int signal)
{
	const struct engine_record *r = engine_read(dir);
	if (!r || signal < 0 || !engine_thawed(r))
		return false;
	int pidfd = engine_open(r);
	if (pidfd < 0)
		return false;
	bool sent = syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0;
	close(pidfd);
	return sent;
}

// PID 1 has taken all processes of its PID namespace along. In a cgroup that cannot be
// removed is something else, or below it. No step minds that it has been done before: so
// Go can do all of it again. If this process is killed when the state is gone, the next
// create removes the directory.
bool engine_delete(int parent, int dir, const char *id)
{
	const struct engine_record *r = engine_read(dir);
	if (!r || engine_life(r) != ENGINE_ENDED)
		return false;
	const char *path = engine_text(r, r->cgroups);
	for (uint32_t i = 0; i < r->cgroup_count; i++, path += strlen(path) + 1)
		if (*path && rmdir(path) < 0 && errno != ENOENT) // controllers share some
			return false;
	if (remove_tree(AT_FDCWD, engine_text(r, r->libcontainer)) < 0)
		return false;
	if (unlink(engine_text(r, r->state)) < 0 && errno != ENOENT)
		return false;
	return remove_tree(parent, id) == 0; // last: see removeDir
}
