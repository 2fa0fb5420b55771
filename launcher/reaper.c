// The PID 1 of --init: minirun's own binary, executed from a sealed memfd, which takes this
// role before the Go runtime starts. It runs the command as its child, passes signals on to
// it, reaps orphans, and exits with the child's status.
#define _GNU_SOURCE
#include "arm/libc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void become_command(char **argv, const sigset_t *mask)
{
	// In its own foreground process group the command gets the terminal's signals once,
	// not a second time from PID 1.
	setpgid(0, 0);
	tcsetpgrp(STDIN_FILENO, getpgrp());
	signal(SIGTTIN, SIG_DFL);
	signal(SIGTTOU, SIG_DFL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	int error = errno;
	dprintf(STDERR_FILENO, "minirun: run %s: %s\n", argv[0], strerror(error));
	_exit(error == ENOENT ? 127 : 126);
}

// reap waits for every child that has ended, and exits if the command is one of them.
static void reap(pid_t command)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == command)
			_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	}
}

// name_self sets the name that ps(1) shows, which would be the number of the memfd. It does
// not use prctl(2), so that a profile need not allow that for --init.
static void name_self(void)
{
	static const char name[] = "minirun-init";
	int fd = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t n = write(fd, name, sizeof(name) - 1);
	(void)n; // then the number stays
	close(fd);
}

// This runs before every other constructor. libcontainer's would trust the environment,
// which the container controls here.
__attribute__((constructor(101))) static void reaper(void)
{
	int argc;
	char **argv = program_arguments(&argc);
	if (getpid() != 1 || argc < 3 || strcmp(argv[1], "minirun-init") != 0)
		return;

	name_self();

	sigset_t all, old;
	all_signals(&all);
	sigdelset(&all, SIGTTIN);
	sigdelset(&all, SIGTTOU);
	sigprocmask(SIG_SETMASK, &all, &old);
	signal(SIGTTIN, SIG_IGN); // tcsetpgrp from the background must not stop PID 1
	signal(SIGTTOU, SIG_IGN);

	pid_t command = fork();
	if (command < 0) {
		dprintf(STDERR_FILENO, "minirun: run %s: fork: %s\n", argv[2], strerror(errno));
		_exit(125);
	}
	if (command == 0) {
		become_command(argv + 2, &old);
	}
	for (;;) {
		siginfo_t info;
		int sig = sigwaitinfo(&all, &info);
		if (sig == SIGCHLD)
			reap(command);
		else if (sig > 0)
			kill(command, sig);
	}
}
