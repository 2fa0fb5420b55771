#define _GNU_SOURCE
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIGNALS = 64, MASK_SIZE = 8 }; // the kernel's

// The kernel's own struct and call (rt_sigaction(2)), since musl's sigaction(3) refuses 34. The
// handler comes first on all architectures that minirun has an ABI for.
struct kernel_action {
	unsigned long handler, rest[7];
};

static volatile int pipe_end = -1;
static struct kernel_action before[SIGNALS + 1]; // by number

static int action(int sig, const struct kernel_action *set, struct kernel_action *old)
{
	return syscall(SYS_rt_sigaction, sig, set, old, MASK_SIZE);
}

// As Docker does, this leaves out SIGCHLD and SIGPIPE, which are about the launcher
// itself. The Go runtime keeps SIGURG, by which it preempts, SIGPROF, and the signals of
// hardware faults.
bool signal_passed_on(int sig)
{
	switch (sig) {
	case SIGCHLD: case SIGPIPE: case SIGURG: case SIGPROF:
	case SIGSEGV: case SIGBUS: case SIGFPE: case SIGILL: case SIGTRAP: case SIGSYS:
	case SIGKILL: case SIGSTOP:
		return false;
	}
	return sig < 32 || sig > 33; // libc uses those
}

void signals_passed_on(sigset_t *set)
{
	uint64_t mask = 0;
	for (int sig = 1; sig <= SIGNALS; sig++)
		if (signal_passed_on(sig))
			mask |= UINT64_C(1) << (sig - 1);
	sigemptyset(set);
	memcpy(set, &mask, sizeof mask); // as the kernel has it
}

void signals_drop(void)
{
	const struct kernel_action ignore = {.handler = (unsigned long)SIG_IGN}, none = {.handler = (unsigned long)SIG_DFL};
	for (int sig = 1; sig <= SIGNALS; sig++) {
		if (!signal_passed_on(sig))
			continue;
		action(sig, &ignore, NULL); // ignoring a pending signal discards it (POSIX)
		action(sig, &none, NULL);
	}
}

static void pass_on(int sig)
{
	int error = errno;
	unsigned char number = sig;
	ssize_t n = write(pipe_end, &number, 1);
	(void)n; // a full pipe holds more signals than the kernel would queue
	errno = error;
}

int signals_catch(int fd)
{
	// SA_ONSTACK: Go's stacks are too small for a handler (os/signal).
	struct sigaction handler = { .sa_handler = pass_on, .sa_flags = SA_RESTART | SA_ONSTACK };
	sigfillset(&handler.sa_mask);
	pipe_end = fd;
	for (int sig = 1; sig <= SIGNALS; sig++)
		if (signal_passed_on(sig) && action(sig, NULL, &before[sig]) < 0)
			return errno;
	struct kernel_action catch; // with the function of libc's to which a handler returns
	if (sigaction(SIGTERM, &handler, NULL) < 0 || action(SIGTERM, NULL, &catch) < 0)
		return errno;
	for (int sig = 1; sig <= SIGNALS; sig++)
		if (signal_passed_on(sig) && action(sig, &catch, NULL) < 0)
			return errno;
	return 0;
}

void signals_release(void)
{
	for (int sig = 1; sig <= SIGNALS; sig++)
		if (signal_passed_on(sig))
			action(sig, &before[sig], NULL);
}
