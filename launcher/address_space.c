// The Go runtime reserves address space when it starts. Where a limit does not leave enough
// of it, the runtime ends with a dump of its stack, or with SIGSEGV. With less than the 56 MB that the
// program itself takes, the kernel ends it with SIGSEGV in execve(2), before any code of it runs.
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LEAST (900UL << 20) // go1.26 on amd64 starts with 800 MB, and not with 700 MB

static void say(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));
	(void)n;
}

// glibc gives each thread that allocates memory an arena of its own, 64 MiB of address space, which
// costs three system calls and some page faults (mallopt(3)). The threads are the Go runtime's, and
// allocate next to nothing by malloc(3).
__attribute__((constructor)) static void share_arena(void)
{
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
#endif
}

// After all constructors with a priority, for some of which Go never starts.
__attribute__((constructor)) static void check_address_space(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= LEAST)
		return;
	say("minirun: the limit on address space is less than 900 MiB\n"
	    "hint: raise it: ulimit -v unlimited\n");
	_exit(125);
}
