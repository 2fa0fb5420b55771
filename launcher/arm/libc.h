// What differs between glibc, with which tests are built, and musl (Makefile).
#ifndef MINIRUN_LIBC_H
#define MINIRUN_LIBC_H

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

// program_arguments returns what execve(2) gave this process, and how many they are. glibc
// passes them to constructors, musl does not. The kernel stores argc, argv, NULL and
// the environment in a row. Only valid until setenv(3) moves environ.
static inline char **program_arguments(int *argc)
{
	char **end = environ - 1;
	for (*argc = 0; (uintptr_t)end[-*argc - 1] != (uintptr_t)*argc; ++*argc)
		;
	return end - *argc;
}

// all_signals is sigfillset(3) with what libc keeps to itself: with musl that has 34, which is a
// program's own elsewhere. sigprocmask(2) leaves out what must not be blocked.
static inline void all_signals(sigset_t *set)
{
	memset(set, 0xff, sizeof *set);
}

#endif
