#define _GNU_SOURCE
#include "arm/libc.h"
#include "wait.h"
#include "guard.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

struct wait_record *record;

char **wait_arguments;
static void *page;
static size_t page_size;
static pid_t guard, speaker; // children; 0: none
static bool running;         // init has become the command
static bool ended;

static const int64_t MILLISECOND = 1000000, SECOND = 1000000000;

const char *wait_text(uint32_t offset)
{
	return (const char *)record + offset;
}

int64_t wait_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

struct timespec wait_time(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return t;
}

int poll_add(struct poll_set *set, int fd, short events)
{
	set->files[set->count] = (struct pollfd){.fd = fd, .events = events};
	return set->count++;
}

void poll_until(struct poll_set *set, int64_t time)
{
	if (time && (!set->until || time < set->until))
		set->until = time;
}

void poll_wait(struct poll_set *set)
{
	struct timespec left;
	if (set->until) {
		int64_t ns = set->until - wait_now();
		if (ns < 0)
			ns = 0;
		left = (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
	}
	if (ppoll(set->files, set->count, set->until ? &left : NULL, NULL) >= 0)
		return;
	if (errno != EINTR) // no memory, or a limit on files that is lower than their number: not for ever, and no reason to spin
		nanosleep(&(struct timespec){.tv_nsec = 10 * MILLISECOND}, NULL);
	for (int i = 0; i < set->count; i++)
		set->files[i].revents = 0;
}

// say_end has a child in Go say what has happened, and returns the status to end with: one that
// does not come to say it leaves the command's own.
static int say_end(int status)
{
	pid_t child = in_go(WAIT_SAY_END);
	int end = reap_speaker(child);
	if (child > 0 && WIFEXITED(end))
		return WEXITSTATUS(end);
	return record->failure ? 125 : status == 0 && record->unread ? 128 + record->unread : status;
}

void say_ignored(void)
{
	speaker = in_go(WAIT_SAY_IGNORED);
}

static bool words_needed(void)
{
	return record->failure || record->interrupted || record->unread || record->lost[STREAM_OUT] || record->lost[STREAM_ERR];
}

// finish ends the launch. When the process ends nothing is left of the container.
static _Noreturn void finish(void)
{
	int status = record->killed_by ? 128 + record->killed_by : record->status;
	streams_end();
	reap_speaker(speaker);
	if (words_needed())
		status = say_end(status);
	server_end(ended);
	streams_end_log();
	if (!ended) {
		kill_init(SIGKILL);
		reap(record->pid);
	}
	if (guard > 0)
		kill(guard, SIGKILL); // the PID is not reused: nobody has waited for this child
	reap(guard);
	if (remove_container() < 0)
		reap(in_go(WAIT_REMOVE));
	_exit(status);
}

static _Noreturn void failed(enum wait_failure failure, int error)
{
	record->failure = failure;
	record->error = error;
	finish();
}

// next_look returns when to look at the page again. An init that has failed to become the
// command cannot wake anybody, since its filter may deny any call (arm.Page). One that has
// become it closes the pipe.
static int64_t next_look(void)
{
	return wait_now() + MILLISECOND;
}

// say_started tells whoever waits for the start of a container in the background. Nothing
// that is the user's is held from then on.
static void say_started(void)
{
	if (!record->background)
		return;
	const char *id = wait_text(record->id);
	streams_leave();
	if (write(record->started, id, strlen(id)) < 0)
		; // the user's process may have been killed
	close(record->started);
}

// look finds out whether init has become the command. closed says whether init's end of the
// pipe is closed.
static void look(bool closed)
{
	if (page_failed(page) || (closed && !page_executes(page)))
		failed(WAIT_EXEC, 0);
	if (closed) {
		running = true;
		say_started();
		close(record->pipe);
		close(record->page);
		munmap(page, page_size);
	}
}

// note_end tells those who wait for the container in other processes (life.go).
static void note_end(void)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%d", record->status);
	if (fsetxattr(record->lock, "trusted." END_ATTRIBUTE, text, n, 0) < 0)
		fsetxattr(record->lock, "user." END_ATTRIBUTE, text, n, 0);
}

static void take_end(void)
{
	int status = reap(record->pid);
	record->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	struct timespec now = wait_time();
	record->finished = now.tv_sec * SECOND + now.tv_nsec;
	ended = true;
	note_end();
	streams_last();
}

static _Noreturn void wait_for_end(void)
{
	while (!ended || !streams_done()) {
		struct poll_set set = {0};
		int signal = signals_add(&set), init = -1, pipe = -1;
		if (!ended)
			init = poll_add(&set, record->init, POLLIN);
		if (!running) {
			pipe = poll_add(&set, record->pipe, POLLIN);
			poll_until(&set, next_look());
		} else {
			server_watch(&set);
		}
		signals_timers(&set);
		interrupt_timers(&set);
		streams_watch(&set);
		poll_wait(&set);
		if (set.files[signal].revents)
			signals_take(ended);
		signals_due();
		interrupt_due();
		streams_move(&set);
		if (!running)
			look(set.files[pipe].revents & POLLHUP);
		if (init >= 0 && set.files[init].revents)
			take_end();
		else if (running)
			server_move(&set);
	}
	finish();
}

static void map_page(void)
{
	struct stat st;
	page = MAP_FAILED;
	if (fstat(record->page, &st) == 0) {
		page_size = st.st_size;
		page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, record->page, 0);
	}
	if (page == MAP_FAILED)
		failed(WAIT_EXEC, errno);
}

static _Noreturn void launch(void)
{
	prctl(PR_SET_NAME, record->name);
	signal(SIGPIPE, SIG_IGN);
	map_page();
	int self = syscall(SYS_pidfd_open, getpid(), 0);
	guard = self < 0 ? -errno : guard_start(record->init, self, NULL);
	if (guard < 0)
		failed(WAIT_GUARD, -guard);
	close(self);
	server_begin();
	if (streams_begin() < 0)
		failed(WAIT_RAW, errno);
	signals_begin();
	page_run(page);
	wait_for_end();
}

_Noreturn void wait_go_on(void)
{
	launch();
}

_Noreturn void wait_give_up(int sig)
{
	record->killed_by = sig;
	finish();
}

// take_record maps the record. It returns false if the file has no record of this process.
static bool take_record(int file)
{
	struct stat st;
	if (fstat(file, &st) < 0 || st.st_size < (off_t)sizeof *record)
		return false;
	record = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (record == MAP_FAILED)
		return false;
	return memcmp(record->magic, WAIT_MAGIC, sizeof record->magic) == 0 && record->version == WAIT_VERSION &&
	       record->size == st.st_size && ((char *)record)[st.st_size - 1] == '\0' && record->launcher == getpid();
}

// leader_lives reports whether the main thread is still running. Once ended it stays in the
// process as a zombie, until execve(2) gives its number to the thread that is left.
static bool leader_lives(void)
{
	char text[512];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	const char *state = strrchr(text, ')'); // proc_pid_stat(5)
	return !state || state[1] == '\0' || state[2] != 'Z';
}

// end_others ends all threads except this one. A thread that has got a signal writes that to
// the pipe before it ends.
static int end_others(void)
{
	bool main = syscall(SYS_gettid) == getpid();
	int error = end_threads(main ? 1 : 2);
	while (!error && !main && leader_lives()) {
		kill(getpid(), SIGURG);
		sched_yield();
	}
	signal(SIGURG, SIG_DFL); // discards one that no thread took: end_threads sends them
	return error;
}

_Noreturn void wait_hand_over(int file)
{
	char number[16];
	snprintf(number, sizeof number, "%d", file);
	setenv(WAIT_VARIABLE, number, 1);
	sigset_t all;
	all_signals(&all);
	sigprocmask(SIG_SETMASK, &all, NULL); // signals stay pending over execve(2)
	int error = end_others();
	if (!error) {
		execve("/proc/thread-self/exe", wait_arguments, environ);
		error = errno;
		unsetenv(WAIT_VARIABLE);
		if (take_record(file)) // go on in this process, whose memory is larger
			launch();
	}
	dprintf(STDERR_FILENO, "minirun: wait for the container: %s\n", strerror(error));
	_exit(125); // init ends with this process
}

__attribute__((constructor(101))) static void begin_waiting(void)
{
	int argc;
	wait_arguments = program_arguments(&argc);
	const char *number = getenv(WAIT_VARIABLE);
	if (!number)
		return;
	int file = atoi(number);
	unsetenv(WAIT_VARIABLE);
	if (!take_record(file)) {
		dprintf(STDERR_FILENO, "minirun: " WAIT_VARIABLE " is for minirun itself: unset it\n");
		_exit(125);
	}
	launch();
}
