#define _GNU_SOURCE
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static volatile int pipe_end = -1;
static struct sigaction before[65]; // by number, up to the kernel's last signal, 64

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
	return sig < 32 || sig >= SIGRTMIN; // glibc uses those between
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
	struct sigaction action = { .sa_handler = pass_on, .sa_flags = SA_RESTART | SA_ONSTACK };
	sigfillset(&action.sa_mask);
	pipe_end = fd;
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		if (signal_passed_on(sig) && sigaction(sig, &action, &before[sig]) < 0) {
			return errno;
		}
	}
	return 0;
}

void signals_release(void)
{
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		if (signal_passed_on(sig)) {
			sigaction(sig, &before[sig], NULL);
		}
	}
}
