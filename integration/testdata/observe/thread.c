// thread [meet] makes a thread, and says how that went. Without meet neither waits for the other,
// so that futex(2) is not called; with it they meet, which always calls it.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_barrier_t *meeting;

static void *run(void *unused)
{
	if (meeting)
		pthread_barrier_wait(meeting);
	return unused;
}

int main(int argc, char **argv)
{
	(void)argv;
	static pthread_barrier_t barrier;
	if (argc > 1 && !pthread_barrier_init(&barrier, NULL, 2))
		meeting = &barrier;
	pthread_t thread;
	int error = pthread_create(&thread, NULL, run, NULL);
	printf("%s\n", strerror(error));
	if (error)
		return 1;
	if (meeting)
		pthread_barrier_wait(meeting);
	while ((error = pthread_tryjoin_np(thread, NULL)) == EBUSY)
		;
	return error;
}
