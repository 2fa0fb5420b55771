// thread makes a thread, and says how that went. Whether pthread_join(3) has to wait is
// chance, so futex(2) is called in any case: a recording has it then.
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *run(void *unused)
{
	return unused;
}

int main(void)
{
	static uint32_t word;
	syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
	pthread_t thread;
	int error = pthread_create(&thread, NULL, run, NULL);
	printf("%s\n", strerror(error));
	return error || pthread_join(thread, NULL);
}
