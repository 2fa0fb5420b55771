#define _GNU_SOURCE
#include "quit.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static void quit(int sig)
{
	_exit(128 + sig);
}

void quit_on_signals(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	struct sigaction action = { .sa_handler = quit, .sa_flags = SA_ONSTACK }, now;
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		// one that is ignored stays so: nohup(1)
		if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
			sigaction(signals[i], &action, NULL);
		}
	}
}
