// Paths in the container's root.
//
// The image decides what is at a path, and another container may change what is on a
// shared mount at any moment. So a path is looked up once, by openat2(2), which stays in
// the root, and from then on only the descriptor counts.
#define _GNU_SOURCE
#include "plan_init.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	MOST_LINKS = 40,   // MAXSYMLINKS of the kernel
	MOST_TRIES = 1000, // to look up a path whose directories somebody moves
};

static int resolve(const char *path, int flags, uint64_t how_to)
{
	struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .resolve = how_to};
	int fd = -1;
	errno = EAGAIN; // something was renamed meanwhile, so the kernel does not know that a ".." is inside
	for (int i = 0; fd < 0 && errno == EAGAIN && i < MOST_TRIES; i++)
		fd = syscall(SYS_openat2, plan_root, path, &how, sizeof how);
	return fd;
}

int open_in_root(const char *path, int flags)
{
	return resolve(path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

const char *split(const char *path, char *parent, size_t size)
{
	const char *last = strrchr(path, '/');
	last = last ? last + 1 : path;
	size_t n = last - path;
	if (n >= size)
		n = size - 1; // paths are shorter than PATH_MAX: the kernel refuses others
	memcpy(parent, path, n);
	parent[n] = '\0';
	return last;
}

// make_part opens a path all of which but the last part exists, and makes that part,
// unless another container on a shared mount has just made it. EEXIST: it is a link to
// nowhere.
static int make_part(const char *path, mode_t mode, uint64_t how_to)
{
	int fd = resolve(path, O_PATH, how_to);
	if (fd >= 0 || errno != ENOENT)
		return fd;
	char parent[PATH_MAX];
	const char *last = split(path, parent, sizeof parent);
	int dir = resolve(*parent ? parent : "/", O_PATH | O_DIRECTORY, how_to);
	if (dir < 0)
		return -1;
	int made = S_ISREG(mode) ? mknodat(dir, last, mode, 0) : mkdirat(dir, last, mode);
	int error = errno;
	close(dir);
	errno = error;
	if (made < 0 && error != EEXIST)
		return -1;
	fd = resolve(path, O_PATH, how_to);
	if (fd < 0 && made < 0 && errno == ENOENT)
		errno = EEXIST;
	return fd;
}

// make_parts opens a path and makes what is missing of it. It sets *at to the end of the
// part that it has reached.
static int make_parts(char *path, mode_t mode, uint64_t how_to, size_t *at)
{
	for (char *end = path;;) {
		end += strspn(end, "/");
		end += strcspn(end, "/");
		bool more = end[strspn(end, "/")] != '\0';
		char next = *end;
		*end = '\0';
		int fd = make_part(path, more ? 0755 : mode, how_to);
		*end = next;
		*at = end - path;
		if (fd < 0 || !more)
			return fd;
		struct stat st;
		int result = fstat(fd, &st);
		close(fd);
		if (result < 0)
			return -1;
		if (!S_ISDIR(st.st_mode)) {
			errno = ENOTDIR;
			return -1;
		}
	}
}

// follow replaces a link in a path by its target. The link's name ends at offset at.
static int follow(char path[PATH_MAX], size_t at)
{
	char link[PATH_MAX], to[PATH_MAX], parent[PATH_MAX], result[PATH_MAX];
	memcpy(link, path, at);
	link[at] = '\0';
	const char *last = split(link, parent, sizeof parent);
	int dir = open_in_root(*parent ? parent : "/", O_PATH | O_DIRECTORY);
	if (dir < 0)
		return -1;
	ssize_t n = readlinkat(dir, last, to, sizeof to - 1);
	int error = errno;
	close(dir);
	if (n < 0) {
		errno = error == EINVAL ? EEXIST : error; // somebody has made something else of it
		return -1;
	}
	to[n] = '\0';
	n = snprintf(result, sizeof result, "%s%s%s", *to == '/' ? "" : parent, to, path + at);
	if (n >= (ssize_t)sizeof result) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(path, result, n + 1);
	return 0;
}

int make_in_root(const char *path, mode_t mode, int flags)
{
	bool links = !(flags & O_NOFOLLOW);
	char now[PATH_MAX];
	size_t at = strlen(path);
	if (at >= sizeof now) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(now, path, at + 1);
	uint64_t how_to = RESOLVE_IN_ROOT | (links ? RESOLVE_NO_MAGICLINKS : RESOLVE_NO_SYMLINKS);
	int fd = make_part(path, mode, how_to); // usually all but the last part exists
	if (fd >= 0)
		return fd;
	for (int i = 0; i < MOST_LINKS; i++) {
		fd = make_parts(now, mode, how_to, &at);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST || !links || follow(now, at) < 0) {
			now[at] = '\0';
			return fail_at(now);
		}
	}
	errno = ELOOP;
	return -1;
}
