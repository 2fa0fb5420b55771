#define _GNU_SOURCE
#include "libc.h"
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct init_page *page;
rlim_t soft_nofile;

// The number stays taken: libcontainer closes only the files that it did not pass on.
static int map_page(void)
{
	struct stat st;
	if (fcntl(PAGE_FD, F_SETFD, FD_CLOEXEC) < 0 || fstat(PAGE_FD, &st) < 0)
		return errno;
	void *mem = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, PAGE_FD, 0);
	if (mem == MAP_FAILED)
		return errno;
	page = mem;
	return 0;
}

// move_to moves this thread, the only one, to a cgroup.
static int move_to(const char *dir, const char *file)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path)
		return ENAMETOOLONG;
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int error = write(fd, "0", 1) < 0 ? errno : 0;
	close(fd);
	return error;
}

// fork_into goes on in a new process that is born in the cgroup, and is a child of the
// launcher.
static int fork_into(const char *dir)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	struct clone_args args = {.flags = CLONE_INTO_CGROUP | CLONE_PARENT, .cgroup = fd};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid > 0)
		_exit(0);
	close(fd);
	if (pid < 0) // Linux before 5.7
		return move_to(dir, "cgroup.procs");
	page->forked = getpid();
	return 0;
}

static int join(void)
{
	char *dir = (char *)page + page->strings;
	for (uint32_t i = 0; i < page->cgroups; i++, dir = next_string(dir)) {
		int error = 0;
		if (i < page->joined) // it was born in it
			continue;
		if (i > 0)
			error = move_to(dir, "tasks");
		else if (*dir != '\0')
			error = fork_into(dir);
		if (error)
			return error;
		page->joined++;
	}
	return 0;
}

// libcontainer does so for the process that it started, which fork_into has ended.
static void allow_all_processors(void)
{
	unsigned char mask[8192];
	memset(mask, 0xff, sizeof mask);
	syscall(SYS_sched_setaffinity, 0, sizeof mask, mask);
}

// The Go runtime leaves signals blocked that its caller has blocked, and takeover.c
// needs one.
static void unblock_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

// A container's init joins its cgroups before anything else: it still has one thread, and
// libcontainer's constructor, which enters the namespaces, comes later. An init with a plan
// does not return from here.
__attribute__((constructor(101))) static void begin_init(void)
{
	int argc;
	char **argv = program_arguments(&argc);
	const char *plan = getenv(PLAN_VARIABLE);
	if (argc < 2 || strcmp(argv[1], "init") != 0 || (plan == NULL && getenv("_LIBCONTAINER_INITPIPE") == NULL))
		return;
	int error = map_page();
	if (error) {
		fprintf(stderr, "minirun: container init: map the page: %s\n", strerror(error));
		_exit(255);
	}
	error = join();
	if (error)
		fail_init(STEP_JOIN, error);
	allow_all_processors();
	unblock_signals();
	if (plan)
		carry_out_plan(atoi(plan));
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		soft_nofile = limit.rlim_cur;
}
