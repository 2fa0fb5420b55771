// thread makes a thread, and says how that went.
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void *run(void *unused)
{
	return unused;
}

int main(void)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, run, NULL);
	printf("%s\n", strerror(error));
	return error || pthread_join(thread, NULL);
}
