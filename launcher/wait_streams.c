// The container's standard streams while the launcher waits. streams.go, output.go and
// tty.go say what is passed on, and why.
#define _GNU_SOURCE
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { MAX_PIPE = 4 << 20 }; // as in output.go

// flow passes data from one file to another. Neither blocks.
struct flow {
	int from, to;  // -1 when the flow has ended
	int at;        // the index in the poll_set of the file that it waits for, or -1
	int error;     // why to could not be written, or 0
	bool blocks;   // to may block: it is another user's, and could not be opened again
	int left;      // how much is passed on after the container's end
	int64_t retry; // when to read again, while this process is in the terminal's background
	size_t start, end;
	char data[STREAM_DATA]; // from start to end: read, but not written yet
};

enum { SAID = STREAMS, FLOWS }; // what minirun itself says, which is logged

static struct flow flows[FLOWS];
static bool logged; // in the background, if there is a log
static bool last; // no process of the container is left
static bool slave_closed;
static struct termios cooked;
static bool raw;

static bool is_open(const struct flow *f)
{
	return f->from >= 0;
}

// unblocked opens a file of the user's again, without blocking, since other processes share
// the flags of the original. It returns sockets and regular files as they are: sockets
// cannot be opened again, and a regular file has a position that must stay shared. Neither
// blocks (see take and give).
static int unblocked(int fd, int flags, bool *blocks)
{
	struct stat st;
	*blocks = false;
	if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || isatty(fd)))
		return fd;
	char path[32];
	snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
	int own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	*blocks = own < 0;
	return own < 0 ? fd : own; // so with a pipe of another user's, and for writing with one without a reader
}

void never_block(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

// end_flow closes the launcher's end of the container's file. The container's next write to
// a pipe gets EPIPE and SIGPIPE, and to a terminal EIO.
static void end_flow(struct flow *f)
{
	if (!is_open(f))
		return;
	bool terminal = record->slave >= 0;
	if (f != &flows[STREAM_IN])
		close(f->from);
	if (f == &flows[STREAM_OUT] || f == &flows[STREAM_ERR])
		record->from[f - flows] = -1; // a child that serves the streams finds none
	else if (!terminal)
		close(f->to);
	f->from = f->to = -1;
	if (terminal && f == &flows[STREAM_OUT])
		end_flow(&flows[STREAM_IN]); // it writes to the same file
}

static ssize_t take(struct flow *f)
{
	ssize_t n = recv(f->from, f->data, sizeof f->data, MSG_DONTWAIT);
	return n < 0 && errno == ENOTSOCK ? read(f->from, f->data, sizeof f->data) : n;
}

static ssize_t give(struct flow *f)
{
	const char *data = f->data + f->start;
	size_t size = f->end - f->start;
	if (f->blocks) { // a pipe that can be written to takes PIPE_BUF bytes (pipe(7))
		struct pollfd to = {.fd = f->to, .events = POLLOUT};
		if (poll(&to, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		}
		size = size < PIPE_BUF ? size : PIPE_BUF;
	}
	ssize_t n = send(f->to, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 && errno == ENOTSOCK ? write(f->to, data, size) : n;
}

// watch_keys counts each ^C that is typed, if the container's terminal turns it into a signal.
static void watch_keys(const struct flow *f)
{
	struct termios mode;
	if (record->slave < 0 || tcgetattr(f->to, &mode) < 0 || !(mode.c_lflag & ISIG) || !mode.c_cc[VINTR])
		return;
	for (size_t i = f->start; i < f->end; i++)
		if ((cc_t)f->data[i] == mode.c_cc[VINTR])
			interrupt_typed(f->to);
}

static bool passing(int error)
{
	return error == EAGAIN || error == EINTR;
}

static void empty(struct flow *f)
{
	if (record->background && f != &flows[STREAM_IN]) {
		struct timespec now = wait_time();
		if (logged)
			log_write(f == &flows[STREAM_OUT] ? STREAM_OUT : STREAM_ERR, f->data + f->start, f->end - f->start, &now);
		f->start = f->end;
		return;
	}
	ssize_t n = give(f);
	if (n > 0) {
		f->start += n;
	} else if (n < 0 && !passing(errno)) {
		f->error = errno == EPIPE ? 0 : errno; // a reader that has gone away is no error
		end_flow(f);
	}
}

static void fill(struct flow *f)
{
	ssize_t n = take(f);
	if (n < 0 && errno == EIO && f == &flows[STREAM_IN] && isatty(f->from) && tcgetpgrp(f->from) != getpgrp()) {
		f->retry = wait_now() + 200000000;
		return;
	}
	if (n < 0 && passing(errno))
		return;
	if (n <= 0) { // the end of a pipe, or EIO of a terminal
		end_flow(f);
		return;
	}
	f->start = 0;
	f->end = n;
	if (f == &flows[STREAM_IN])
		watch_keys(f);
	empty(f);
}

void streams_watch(struct poll_set *set)
{
	for (struct flow *f = flows; f < flows + FLOWS; f++) {
		f->at = -1;
		if (!is_open(f))
			continue;
		if (f->start < f->end)
			f->at = poll_add(set, f->to, POLLOUT);
		else if (f->retry > wait_now())
			poll_until(set, f->retry);
		else
			f->at = poll_add(set, f->from, POLLIN);
	}
}

// pass_last passes on what is in a pipe or terminal when the container has ended. Other
// processes may go on writing to it, so there is a limit, and the end is not waited for.
static void pass_last(struct flow *f)
{
	while (is_open(f) && f->start == f->end) {
		ssize_t n = f->left > 0 ? read(f->from, f->data, sizeof f->data) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			end_flow(f);
			return;
		}
		f->left -= n;
		f->start = 0;
		f->end = n;
		empty(f);
	}
}

void streams_move(const struct poll_set *set)
{
	for (struct flow *f = flows; f < flows + FLOWS; f++) {
		if (is_open(f) && f->at >= 0 && set->files[f->at].revents) {
			if (f->start < f->end)
				empty(f);
			else
				fill(f);
		}
		if (last && f != &flows[SAID])
			pass_last(f);
	}
}

void streams_last(void)
{
	last = true;
	end_flow(&flows[STREAM_IN]);
	if (record->slave >= 0 && !slave_closed)
		close(record->slave); // so that the master comes to an end
	slave_closed = true;
	for (struct flow *f = flows; f < flows + FLOWS; f++) {
		f->left = MAX_PIPE;
		if (f != &flows[SAID])
			pass_last(f);
	}
}

bool streams_done(void)
{
	return !is_open(&flows[STREAM_OUT]) && !is_open(&flows[STREAM_ERR]);
}

void streams_drop(void)
{
	for (struct flow *f = flows; f < flows + FLOWS; f++)
		end_flow(f);
}

void streams_resize(void)
{
	struct winsize size;
	int terminal = flows[STREAM_OUT].from;
	if (record->slave >= 0 && terminal >= 0 && record->host >= 0 && ioctl(record->host, TIOCGWINSZ, &size) == 0)
		ioctl(terminal, TIOCSWINSZ, &size);
}

static int make_raw(void)
{
	if (!record->raw)
		return 0;
	if (tcgetattr(record->host, &cooked) < 0)
		return -1;
	struct termios mode = cooked;
	cfmakeraw(&mode);
	raw = tcsetattr(record->host, TCSANOW, &mode) == 0;
	return raw ? 0 : -1;
}

int streams_begin(void)
{
	flows[SAID].from = flows[SAID].to = -1;
	logged = record->background && record->log >= 0;
	if (logged)
		log_begin(wait_text(record->log_path), record->log, record->log_size, record->log_files);
	for (int i = 0; i < STREAMS; i++) {
		struct flow *f = &flows[i];
		f->from = record->from[i];
		f->to = record->to[i];
		if (!is_open(f))
			continue;
		if (i == STREAM_IN) {
			never_block(f->to);
			f->from = unblocked(f->from, O_RDONLY, &(bool){false});
		} else {
			never_block(f->from);
			f->to = record->background ? -1 : unblocked(f->to, O_WRONLY, &f->blocks);
		}
	}
	if (make_raw() < 0)
		return -1;
	streams_resize(); // the size may have changed since init made the terminal
	return 0;
}

void streams_leave(void)
{
	int ends[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (logged && pipe2(ends, O_CLOEXEC) == 0) {
		flows[SAID].from = record->said = ends[0];
		never_block(ends[0]);
		dup2(ends[1], STDERR_FILENO);
		close(ends[1]);
	} else {
		dup2(null, STDERR_FILENO);
	}
	close(null);
	if (chdir("/") < 0)
		return; // a directory of the user's stays busy
}

void streams_flush_log(void)
{
	struct timespec now = wait_time();
	if (logged)
		log_flush(&now);
}

// The child's files are copies: those here are read again if it is killed. Only the input that
// the child may end is its alone.
void streams_give_away(void)
{
	for (struct flow *f = flows; f < flows + FLOWS; f++)
		f->from = f->to = -1;
	if (record->once && record->to[STREAM_IN] >= 0 && record->slave < 0)
		close(record->to[STREAM_IN]);
	if (logged) {
		struct timespec now = wait_time();
		log_end(&now);
	}
	logged = false;
}

void streams_take_back(void)
{
	if (record->once && record->slave < 0)
		record->to[STREAM_IN] = -1;
	flows[STREAM_OUT].from = record->from[STREAM_OUT];
	flows[STREAM_ERR].from = record->from[STREAM_ERR];
	flows[SAID].from = record->said;
	logged = record->log >= 0 && log_resume();
}

void streams_end_log(void)
{
	if (!logged)
		return;
	pass_last(&flows[SAID]);
	struct timespec now = wait_time();
	log_end(&now);
	logged = false;
}

void streams_end(void)
{
	if (raw)
		tcsetattr(record->host, TCSANOW, &cooked); // fails only when the terminal is gone
	raw = false;
	for (int i = 0; i < STREAMS; i++)
		record->lost[i] = flows[i].error;
}
