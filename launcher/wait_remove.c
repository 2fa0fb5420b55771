// Removal of a container in which nothing is unusual. The rest is left to Go (rest.go).
#define _GNU_SOURCE
#include "wait.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEPTH = 16 }; // each level keeps a directory open; internal/removeall has no limit

static int remove_entry(int dir, const char *name, int depth);

// remove_entries removes the entries of an open directory, except for those that reading
// skips because others are removed. It sets removed if there were any.
static int remove_entries(int dir, int depth, bool *removed)
{
	_Alignas(struct dirent) char buffer[2048];
	ssize_t n;
	*removed = false;
	if (lseek(dir, 0, SEEK_SET) < 0)
		return -1;
	while ((n = syscall(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
		for (ssize_t at = 0; at < n;) {
			struct dirent *e = (struct dirent *)(buffer + at);
			at += e->d_reclen;
			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
				continue;
			if (remove_entry(dir, e->d_name, depth) < 0)
				return -1;
			*removed = true;
		}
	}
	return n;
}

static bool not_empty(void)
{
	return errno == ENOTEMPTY || errno == EEXIST;
}

// remove_directory removes a directory that is not empty.
static int remove_directory(int dir, const char *name, int depth)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), result = -1;
	bool again = fd >= 0;
	while (again && remove_entries(fd, depth - 1, &again) == 0) {
		result = unlinkat(dir, name, AT_REMOVEDIR);
		again &= result < 0 && not_empty();
	}
	close(fd);
	return result;
}

// remove_entry removes an entry and all below it. It follows no links.
static int remove_entry(int dir, const char *name, int depth)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return -1;
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return 0;
	return not_empty() && depth > 0 ? remove_directory(dir, name, depth) : -1;
}

int remove_tree(int dir, const char *path)
{
	return remove_entry(dir, path, DEPTH);
}

static const char *next(const char *text)
{
	return text + strlen(text) + 1;
}

// stays reports whether something of the container may be to stay.
static bool stays(void)
{
	return record->stays || (record->background && faccessat(record->lock, RESTART_FILE, F_OK, 0) == 0);
}

// remove_name removes the container's directory, which is empty, under the name that it has now.
static int remove_name(int parent)
{
	char link[32], path[PATH_MAX];
	snprintf(link, sizeof link, "/proc/self/fd/%d", record->lock);
	ssize_t n = readlink(link, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = '\0';
	const char *name = strrchr(path, '/');
	return name ? unlinkat(parent, name + 1, AT_REMOVEDIR) : -1;
}

// remove_own removes the container's files, and its directory. Who gives the container another
// name (rename.go) has the lock of the directory above, and writes the state. So the state goes
// under that lock, and the directory, whose name stays the same then. The directory is last: see
// removeDir.
static int remove_own(int parent)
{
	int result = -1;
	bool again = true;
	if (flock(parent, LOCK_EX) < 0)
		return -1;
	if ((unlink(wait_text(record->launch)) < 0 && errno != ENOENT) || (unlink(wait_text(record->state)) < 0 && errno != ENOENT))
		return -1;
	flock(parent, LOCK_UN);
	while (again && remove_entries(record->lock, DEPTH, &again) == 0 && flock(parent, LOCK_EX) == 0) {
		result = remove_name(parent);
		again &= result < 0 && not_empty();
		flock(parent, LOCK_UN);
	}
	return result;
}

int remove_container(void)
{
	if (stays())
		return -1;
	const char *path = wait_text(record->id_file);
	if (record->failure && *path)
		unlink(path);
	path = wait_text(record->mounts);
	for (uint32_t i = 0; i < record->mount_count; i++, path = next(path))
		if (umount2(path, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT) // EINVAL, ENOENT: not mounted
			return -1;
	path = wait_text(record->cgroups);
	for (uint32_t i = 0; i < record->cgroup_count; i++, path = next(path))
		if (*path && rmdir(path) < 0 && errno != ENOENT) // controllers share directories
			return -1;
	int parent = openat(record->lock, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = parent < 0 ? -1 : remove_own(parent);
	close(parent);
	return result;
}
