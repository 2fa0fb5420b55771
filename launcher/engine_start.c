#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct engine_failure engine_failure = {.page = -1, .pipe = -1};

// write_beside writes a text to the file by way of which another is replaced (State.save).
static bool write_beside(const char *path, const char *text, char temporary[PATH_MAX])
{
	if (snprintf(temporary, PATH_MAX, "%s.new", path) >= PATH_MAX)
		return false;
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	bool whole = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (close(fd) < 0 || !whole) {
		unlink(temporary);
		return false;
	}
	return true;
}

// run has a parked init become its command, as startParked does. From here on an error is
// the container's end.
static bool run(const struct engine_record *r, void *page, int pipe, const char *temporary)
{
	page_arm(page);
	if (page_await_armed(page, pipe) < 0) {
		unlink(temporary);
		return false;
	}
	engine_failure.armed = true;
	page_run(page);
	if ((unlink(engine_text(r, r->fifo)) < 0 && errno != ENOENT) || rename(temporary, engine_text(r, r->state)) < 0) {
		engine_failure.error = errno;
		unlink(temporary);
		return false;
	}
	return page_await_exec(page, pipe) == 0;
}

bool engine_start(int dir)
{
	const struct engine_record *r = engine_read(dir);
	if (!r || !engine_has(engine_text(r, r->state), engine_text(r, r->created)))
		return false;
	int pidfd = engine_open(r);
	if (pidfd < 0)
		return false;
	void *mem;
	size_t size;
	int pipe, page = page_reopen(pidfd, r->kept, &mem, &size, &pipe);
	close(pidfd);
	if (page < 0)
		return false;
	char temporary[PATH_MAX];
	bool begun = write_beside(engine_text(r, r->state), engine_text(r, r->running), temporary);
	bool done = begun && run(r, mem, pipe, temporary);
	munmap(mem, size);
	if (begun && !done) { // Go says why
		engine_failure.page = page;
		engine_failure.pipe = pipe;
		return false;
	}
	close(page);
	close(pipe);
	return done;
}
