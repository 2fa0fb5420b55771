// See interrupts.go, which says what this does and why.
#define _GNU_SOURCE
#include "wait.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static const int64_t WITHIN = 1200000000, IGNORED_AFTER = 200000000; // ns

static int64_t last[2]; // when the last two ^C came; 0: never
static int64_t warn_at; // 0: never
static bool warned;

// read_proc reads a file of a process, to a static buffer. It returns NULL if the process
// has ended.
static const char *read_proc(int pid, const char *name)
{
	static char text[8192];
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n < 0)
		return NULL;
	text[n] = '\0';
	return text;
}

// field returns what follows a name at the start of a line.
static const char *field(const char *text, const char *name)
{
	size_t length = strlen(name);
	for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL)
		if (strncmp(text, name, length) == 0)
			return text + length + strspn(text + length, " \t");
	return "";
}

static bool waits_for_signals(int pid)
{
	const char *call = read_proc(pid, "syscall");
	return !call || (isdigit((unsigned char)*call) && atoi(call) == SYS_rt_sigtimedwait);
}

static bool catches(int pid, int sig)
{
	const char *status = read_proc(pid, "status");
	if (!status)
		return true;
	char state = *field(status, "State:");
	uint64_t masks = strtoull(field(status, "SigCgt:"), NULL, 16) | strtoull(field(status, "SigBlk:"), NULL, 16);
	return state == 'Z' || state == 'X' || masks >> (sig - 1) & 1;
}

static bool handles(int pid, int sig)
{
	for (int i = 0; i < 3; i++)
		if (waits_for_signals(pid) || catches(pid, sig))
			return true;
	return false;
}

static bool in_group(int pid, int group)
{
	const char *stat = read_proc(pid, "stat");
	const char *fields = stat ? strrchr(stat, ')') : NULL; // the name before it may have parentheses, too
	int its;
	return fields && sscanf(fields, ") %*c %*d %d", &its) == 1 && its == group;
}

static bool group_handles(int group, int sig)
{
	DIR *proc = opendir("/proc");
	if (!proc)
		return true;
	bool found = false;
	for (struct dirent *e; !found && (e = readdir(proc));) {
		int pid = atoi(e->d_name);
		found = pid > 0 && in_group(pid, group) && handles(pid, sig);
	}
	closedir(proc);
	return found;
}

// press counts a ^C, and reports whether PID 1 has been killed.
static bool press(void)
{
	int64_t now = wait_now();
	bool third = last[0] && now - last[0] <= WITHIN;
	last[0] = last[1];
	last[1] = now;
	if (third && !record->interrupted)
		record->interrupted = kill_init(SIGKILL) == 0;
	return record->interrupted;
}

void interrupt_signal(void)
{
	if (handles(record->pid, SIGINT) || press() || warned)
		return;
	warned = true;
	warn_at = wait_now() + IGNORED_AFTER;
}

void interrupt_typed(int terminal)
{
	int group;
	if (ioctl(terminal, TIOCGPGRP, &group) < 0)
		return;
	if (group == 0 || (group == record->pid && !group_handles(group, SIGINT)))
		press();
}

void interrupt_timers(struct poll_set *set)
{
	poll_until(set, warn_at);
}

void interrupt_due(void)
{
	if (!warn_at || wait_now() < warn_at)
		return;
	warn_at = 0;
	if (!handles(record->pid, SIGINT)) // a process that has ended counts as one that does
		say_ignored();
}
