// A user's process becomes root of a user namespace of its own, and stays the same process:
// no parent waits for it, and no signals need to be passed on. unshare(2) needs a process
// with one thread, so this is a constructor, which runs before the Go runtime starts.
#define _GNU_SOURCE
#include "../arm/libc.h"
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	MOST_ARGUMENTS = 1024, // the kernel takes 340 ranges of 3 numbers (user_namespaces(7))
	PATIENCE = 10000,      // ms in which the tools have to end
	STEP = 100             // ms that one wait counts at most
};

struct entered entered;

static int fail(enum enter_step step, int error)
{
	entered.step = step;
	entered.error = error;
	return -1;
}

int userns_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return n < 0 ? -1 : 0;
}

// start_tool starts newuidmap or newgidmap for a process. The tool stays outside, where it
// has its privileges, and waits until the process is in the namespace.
static pid_t start_tool(char *lines, const char *process, const int begin[2], int said)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	char byte, *argv[MOST_ARGUMENTS + 1], *rest = lines;
	close(begin[1]); // or it would wait for itself
	if (read(begin[0], &byte, 1) != 1)
		_exit(0);
	int n = 0;
	for (char *line; n < MOST_ARGUMENTS && (line = strsep(&rest, "\n"));) {
		argv[n++] = line;
		if (n == 1)
			argv[n++] = (char *)process;
	}
	argv[n] = NULL;
	dup2(said, STDERR_FILENO);
	execv(argv[0], argv);
	dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

// milliseconds returns the time of a clock that nobody sets.
static int64_t milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// readable reports whether a file can be read, or has come to its end, while patience lasts,
// and takes the time from it. Time in which this process was stopped, or had no processor, does
// not count: the tools had none either.
static bool readable(int file, int64_t *patience)
{
	struct pollfd polled = {.fd = file, .events = POLLIN};
	for (;;) {
		int64_t begin = milliseconds(), most = *patience < STEP ? *patience : STEP;
		int n = poll(&polled, 1, most);
		if (n > 0 || (n < 0 && errno != EINTR))
			return true; // an error is what reading shows, too
		int64_t waited = milliseconds() - begin;
		*patience -= waited < most ? waited : most;
		if (*patience == 0)
			return false;
	}
}

// succeeds reports whether a tool has ended well. One that has not ended while patience lasts
// is killed: it may be asking a server for the user's IDs (subid in nsswitch.conf(5)).
static bool succeeds(pid_t pid, int64_t *patience, int *error)
{
	int status, end = syscall(SYS_pidfd_open, pid, 0);
	bool late = end >= 0 && !readable(end, patience);
	close(end);
	if (late) {
		*error = ETIMEDOUT;
		if (kill(pid, SIGKILL) < 0) // it is another user's now
			return false;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// listen_to keeps what the tools say, until both have ended, or patience is at its end.
static void listen_to(int said, int64_t *patience)
{
	size_t have = 0;
	char rest[256];
	while (readable(said, patience)) {
		bool room = have < sizeof entered.said - 1;
		ssize_t n = room ? read(said, entered.said + have, sizeof entered.said - 1 - have) : read(said, rest, sizeof rest);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		if (room)
			have += n;
	}
}

// confined: with kernel.apparmor_restrict_unprivileged_userns AppArmor lets a program
// without a profile make the namespace, and takes its capabilities there.
static bool confined(void)
{
	static const char name[] = "unprivileged_userns";
	char now[sizeof name] = "";
	int fd = open("/proc/self/attr/apparmor/current", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, now, sizeof now - 1);
	close(fd);
	return n == sizeof now - 1 && strcmp(now, name) == 0;
}

static int make_namespace(void)
{
	if (unshare(CLONE_NEWUSER) < 0)
		return fail(ENTER_UNSHARE, errno);
	return confined() ? fail(ENTER_CONFINED, 0) : 0;
}

// tools are newuidmap and newgidmap at work.
static struct {
	pid_t uids, gids;
	int said; // what they say
} tools;

void userns_begin(char *uids, char *gids)
{
	int begin[2], said[2];
	char process[16];
	entered.uid = geteuid();
	signal(SIGCHLD, SIG_DFL); // if it is ignored, the tools cannot be waited for (wait(2)); Go installs its own handler
	if (pipe2(begin, O_CLOEXEC) < 0 || pipe2(said, O_CLOEXEC) < 0) {
		fail(ENTER_PREPARE, errno);
		return;
	}
	snprintf(process, sizeof process, "%d", getpid());
	tools.uids = start_tool(uids, process, begin, said[1]);
	tools.gids = start_tool(gids, process, begin, said[1]);
	tools.said = said[0];
	close(begin[0]);
	close(said[1]);
	if (tools.uids < 0 || tools.gids < 0)
		fail(ENTER_PREPARE, errno);
	else if (make_namespace() == 0 && write(begin[1], "12", 2) != 2)
		fail(ENTER_PREPARE, errno);
	close(begin[1]);
}

void userns_settle(void)
{
	if (tools.uids == 0)
		return;
	int64_t patience = PATIENCE;
	int uids_error = 0, gids_error = 0;
	listen_to(tools.said, &patience);
	close(tools.said);
	bool uids_mapped = tools.uids > 0 && succeeds(tools.uids, &patience, &uids_error);
	bool gids_mapped = tools.gids > 0 && succeeds(tools.gids, &patience, &gids_error);
	tools.uids = tools.gids = 0;
	if (entered.step != ENTER_NOT_TRIED)
		return;
	if (!uids_mapped)
		fail(ENTER_MAP_UIDS, uids_error);
	else if (!gids_mapped)
		fail(ENTER_MAP_GIDS, gids_error);
	else
		entered.step = ENTER_DONE;
}

// with_one maps the user to 0, and nothing else. Then the groups of the process cannot be
// changed (user_namespaces(7), setgroups).
static int with_one(uid_t uid, gid_t gid)
{
	char map[32];
	if (make_namespace() < 0)
		return -1;
	snprintf(map, sizeof map, "0 %u 1", uid);
	if (userns_write("/proc/self/uid_map", map) < 0)
		return fail(ENTER_MAP_UIDS, errno);
	snprintf(map, sizeof map, "0 %u 1", gid);
	if (userns_write("/proc/self/setgroups", "deny") < 0 || userns_write("/proc/self/gid_map", map) < 0)
		return fail(ENTER_MAP_GIDS, errno);
	return 0;
}

// join_process enters the user namespace of a process, as the owner of the namespace may
// (user_namespaces(7)).
static int join_process(const char *process)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%s/ns/user", process);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWUSER) < 0)
		return fail(ENTER_JOIN, errno);
	close(fd);
	return 0;
}

// stay notes that this process was started in a user namespace that a user's process has
// entered. The variable alone is no proof, and it is not passed on.
static void stay(void)
{
	unsigned inside, outside;
	FILE *map = fopen("/proc/self/uid_map", "re");
	if (map && fscanf(map, "%u %u", &inside, &outside) == 2 && inside == 0 && outside != 0) {
		entered.step = ENTER_DONE;
		entered.uid = outside;
	}
	if (map)
		fclose(map);
	unsetenv(ENTER_VARIABLE);
}

// After the constructors of reaper.c and join.c, whose processes never ask for it, and
// before libcontainer's.
__attribute__((constructor(102))) static void enter(void)
{
	const char *where = getenv(ENTER_VARIABLE);
	if (geteuid() == 0) {
		if (where && strcmp(where, "same") == 0)
			stay();
		return;
	}
	if (where == NULL) {
		int argc;
		char **argv = program_arguments(&argc);
		userns_enter_early(argc, argv);
		return;
	}
	char *uids = getenv(UIDS_VARIABLE), *gids = getenv(GIDS_VARIABLE);
	entered.uid = geteuid();
	if (strcmp(where, "new") == 0 && uids && gids)
		userns_begin(uids, gids);
	else if ((strcmp(where, "new") == 0 ? with_one(geteuid(), getegid()) : join_process(where)) == 0)
		entered.step = ENTER_DONE;
	unsetenv(ENTER_VARIABLE);
	unsetenv(UIDS_VARIABLE);
	unsetenv(GIDS_VARIABLE);
}
