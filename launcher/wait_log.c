// The log of a container in the background: what internal/jsonlog writes, byte for byte
// except for the times. Go begins the log, and reads it.
#define _GNU_SOURCE
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	MAX_TEXT = 16 << 10,               // of a line in one entry
	MAX_ENTRY = 6 * MAX_TEXT + 128,    // each byte may become \u00xx
	MAX_LINES = MAX_ENTRY + (32 << 10) // lines that are written at once
};

static const char *path;
static int64_t limit, size; // of a file; 0 is no limit
static int files;           // that are kept
static int file = -1;
static int lost, why; // how many lines are missing, and the errno
static char lines[MAX_LINES];
static size_t length; // of lines
static int count;

// partial is the beginning of a line.
static struct partial {
	size_t length;
	char text[MAX_TEXT + STREAM_DATA];
} partials[STREAMS];

static const char *const names[STREAMS] = {[STREAM_OUT] = "stdout", [STREAM_ERR] = "stderr"};

void log_begin(const char *log, int open, int64_t max_size, int max_files)
{
	struct stat st;
	path = log;
	file = open;
	limit = max_size;
	files = max_files;
	size = fstat(file, &st) == 0 ? st.st_size : 0;
	fcntl(file, F_SETFL, O_APPEND);
	fcntl(file, F_SETFD, FD_CLOEXEC);
}

// whole_lines returns where the last whole line of the file ends, or -1.
static int64_t whole_lines(int64_t end)
{
	char block[4096];
	while (end > 0) {
		int64_t start = end > (int64_t)sizeof block ? end - (int64_t)sizeof block : 0;
		ssize_t n = pread(file, block, end - start, start);
		if (n < 0)
			return -1;
		const char *newline = memrchr(block, '\n', n);
		if (newline)
			return start + (newline + 1 - block);
		end = start;
	}
	return 0;
}

bool log_resume(void)
{
	struct stat st;
	int again = open(path, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (again < 0)
		return false;
	if (fstat(again, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(again);
		return false;
	}
	file = again;
	size = whole_lines(st.st_size);
	if (size < 0 || ftruncate(file, size) < 0)
		size = st.st_size; // half a line stays, which readers leave out
	return true;
}

// character returns how many bytes the UTF-8 encoding of a character has at p, or 0 if there
// is none (RFC 3629, section 4).
static size_t character(const unsigned char *p, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
	if (n < 2)
		return n;
	if (*p == 0xe0)
		low = 0xa0;
	else if (*p == 0xed)
		high = 0x9f;
	else if (*p == 0xf0)
		low = 0x90;
	else if (*p == 0xf4)
		high = 0x8f;
	if (n > left || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return n;
}

// escape writes a character as encoding/json does without SetEscapeHTML. It returns the end.
static char *escape(char *to, const unsigned char *p, size_t n)
{
	static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";
	const char *found = *p ? strchr(plain, *p) : NULL;
	if (n == 0)
		return stpcpy(to, "\\ufffd");
	if (found) {
		*to++ = '\\';
		*to++ = escaped[found - plain];
		return to;
	}
	if (*p < ' ')
		return to + sprintf(to, "\\u%04x", *p);
	if (n == 3 && memcmp(p, "\xe2\x80", 2) == 0 && (p[2] | 1) == 0xa9) // lines end there in JavaScript
		return to + sprintf(to, "\\u20%02x", p[2] - 0x80);
	return mempcpy(to, p, n);
}

// stamp writes a time as time.RFC3339Nano, in UTC.
static char *stamp(char *to, const struct timespec *time)
{
	struct tm tm;
	gmtime_r(&time->tv_sec, &tm);
	to += strftime(to, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	if (time->tv_nsec) {
		to += sprintf(to, ".%09ld", time->tv_nsec);
		while (to[-1] == '0')
			to--;
	}
	*to++ = 'Z';
	return to;
}

char *json_text(char *to, const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text, *end = p + n;
	while (p < end) {
		size_t bytes = character(p, end - p);
		to = escape(to, p, bytes);
		p += bytes ? bytes : 1;
	}
	return to;
}

size_t log_entry(char *to, const char *text, size_t n, const char *stream, const struct timespec *time)
{
	char *at = json_text(stpcpy(to, "{\"log\":\""), text, n);
	at += sprintf(at, "\",\"stream\":\"%s\",\"time\":\"", stream);
	at = stamp(at, time);
	at = stpcpy(at, "\"}\n");
	return at - to;
}

// shift gives the log and each older file the next older name.
static int shift(void)
{
	char newer[PATH_MAX], older[PATH_MAX];
	for (int n = files - 1; n > 0; n--) {
		snprintf(older, sizeof older, "%s.%d", path, n);
		snprintf(newer, sizeof newer, n > 1 ? "%s.%d" : "%s", path, n - 1);
		if (rename(newer, older) < 0 && errno != ENOENT)
			return -1;
	}
	return 0;
}

// rotate begins a new file. Where there is no room for one, the old ones stay as they are.
static int rotate(void)
{
	char fresh[PATH_MAX];
	if (files <= 1) {
		if (ftruncate(file, 0) < 0)
			return -1;
		size = 0;
		return 0;
	}
	snprintf(fresh, sizeof fresh, "%s.new", path);
	int next = open(fresh, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0600);
	if (next < 0)
		return -1;
	if (shift() < 0 || rename(fresh, path) < 0) {
		int error = errno;
		close(next);
		errno = error;
		return -1;
	}
	close(file);
	file = next;
	size = 0;
	return 0;
}

// write_all writes text, or nothing.
static int write_all(const char *text, size_t n)
{
	size_t at = 0;
	while (at < n) {
		ssize_t written = write(file, text + at, n - at);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0) {
			int error = errno;
			if (ftruncate(file, size) < 0) // half a line stays, which readers leave out
				size += at;
			errno = error;
			return -1;
		}
		at += written;
	}
	size += n;
	return 0;
}

// say_lost writes how many lines are missing.
static int say_lost(const struct timespec *now)
{
	char reason[128], text[256], entry[1024];
	snprintf(reason, sizeof reason, "%s", strerror(why));
	reason[0] |= 0x20; // as Go writes it
	int n = snprintf(text, sizeof text, "minirun: %d lines of the log were lost: %s\n", lost, reason);
	return write_all(entry, log_entry(entry, text, n, "stderr", now));
}

// put writes the lines.
static void put(const struct timespec *now)
{
	if (count == 0)
		return;
	bool full = limit && size && size + (int64_t)length > limit;
	if ((full && rotate() < 0) || (lost && say_lost(now) < 0)) {
		lost += count;
		why = errno;
	} else {
		lost = 0;
		if (write_all(lines, length) < 0) {
			lost = count;
			why = errno;
		}
	}
	length = count = 0;
}

static void add(const char *text, size_t n, int stream, const struct timespec *now)
{
	char entry[MAX_ENTRY];
	size_t bytes = log_entry(entry, text, n, names[stream], now);
	if (length + bytes > sizeof lines || (limit && count && size + (int64_t)(length + bytes) > limit))
		put(now);
	memcpy(lines + length, entry, bytes);
	length += bytes;
	count++;
}

void log_write(int stream, const char *data, size_t n, const struct timespec *now)
{
	struct partial *p = &partials[stream];
	memcpy(p->text + p->length, data, n); // n is at most STREAM_DATA
	p->length += n;
	size_t at = 0;
	for (;;) {
		const char *text = p->text + at, *newline = memchr(text, '\n', p->length - at);
		size_t end = newline ? newline + 1 - text : 0;
		if ((end == 0 || end > MAX_TEXT) && p->length - at >= MAX_TEXT)
			end = MAX_TEXT;
		if (end == 0)
			break;
		add(text, end, stream, now);
		at += end;
	}
	put(now);
	p->length -= at;
	memmove(p->text, p->text + at, p->length);
}

void log_flush(const struct timespec *now)
{
	for (int i = STREAM_OUT; i < STREAMS; i++) {
		if (partials[i].length)
			add(partials[i].text, partials[i].length, i, now);
		put(now);
		partials[i].length = 0;
	}
}

void log_end(const struct timespec *now)
{
	log_flush(now);
	close(file);
	file = -1;
}
