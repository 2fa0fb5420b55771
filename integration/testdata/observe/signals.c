// signals makes a denied call 3000 times while a timer interrupts it, and counts the results.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static volatile int hits;

static void count(int signal)
{
	(void)signal;
	hits++;
}

int main(void)
{
	struct sigaction restart = {.sa_handler = count, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 500}, {0, 500}};
	int other = 0;
	sigaction(SIGALRM, &restart, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 3000 || !hits; i++)
		if (syscall(SYS_acct, "/x") != -1 || errno != EPERM)
			other++;
	printf("%d other\n", other);
	return 0;
}
