// The Go runtime's monitor thread sleeps for 20 µs at a time while anything runs: some
// hundred wake-ups in a launch, a twentieth of its CPU time. With a coarse timer slack
// (PR_SET_TIMERSLACK, prctl(2)) the kernel makes them longer.
//
// Threads and processes inherit the slack of the thread that makes them, and commands
// keep it over execve(2). Only the monitor is to have it, so it is set where threads are
// made: the linker has all callers of pthread_create call the function below.
#include <pthread.h>
#include <sys/prctl.h>

enum { COARSE = 999999 }; // ns; a value that no other thread has

static long usual; // 0 until the first thread is made, which is the monitor

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	long slack = prctl(PR_GET_TIMERSLACK);
	if (usual == 0) {
		usual = slack;
		prctl(PR_SET_TIMERSLACK, COARSE);
	} else if (slack == COARSE) { // the monitor makes one
		prctl(PR_SET_TIMERSLACK, usual);
	}
	int error = __real_pthread_create(thread, attr, start, arg);
	if (prctl(PR_GET_TIMERSLACK) != slack)
		prctl(PR_SET_TIMERSLACK, slack);
	return error;
}
