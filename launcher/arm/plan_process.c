// What belongs to the process alone: working directory, user, capabilities, and the
// command.
//
// The calls are the kernel's, and change this thread only: the arming thread keeps what
// it has (PLAN_ARM). execve(2) ends that.
#define _GNU_SOURCE
#include "plan_init.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// is_inside makes sure of the working directory: getcwd(2) gives a path that starts with
// "(unreachable)" for one that is not below the root (CVE-2024-21626).
static int is_inside(void)
{
	char path[PATH_MAX];
	if (syscall(SYS_getcwd, path, sizeof path) < 0)
		return -1;
	return *path == '/' ? 0 : fail_because(PLAN_OUTSIDE_OF_ROOT, ENOENT);
}

int plan_do_enter(const struct plan_step *step)
{
	static bool entered;
	if (entered)
		return is_inside();
	int fd = open_in_root(plan_text(step->path), O_PATH | O_DIRECTORY);
	if (fd >= 0 && fchdir(fd) == 0) {
		entered = true;
		close(fd);
		return is_inside();
	}
	int error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return step->flags & PLAN_LATER && (error == EACCES || error == EPERM) ? 0 : -1;
}

int plan_do_bounding(const struct plan_step *step)
{
	for (int c = 0; c < 64; c++)
		if (!(step->value[0] >> c & 1) && prctl(PR_CAPBSET_DROP, c) < 0)
			return errno == EINVAL ? 0 : -1; // the kernel has no such capability, and none after it
	return 0;
}

// own_standard_files gives the standard files to the user, so that /dev/stdout can be
// opened again. A file whose owner cannot be changed keeps it.
static int own_standard_files(uid_t user)
{
	struct stat st;
	for (int fd = 0; fd < 3; fd++) {
		if (fstat(fd, &st) < 0)
			return -1;
		if (st.st_uid == user || is_device(fd, 1, 3))
			continue;
		if (fchown(fd, user, -1) < 0 && errno != EPERM && errno != EROFS)
			return -1;
	}
	return 0;
}

int plan_do_user(const struct plan_step *step)
{
	uid_t user = step->value[0];
	gid_t group = step->value[1];
	if (prctl(PR_SET_KEEPCAPS, 1) < 0 || own_standard_files(user) < 0)
		return -1;
	if (!(step->flags & PLAN_KEEP_GROUPS) && syscall(SYS_setgroups, step->number, plan_list(step)) < 0)
		return -1;
	if (syscall(SYS_setgid, group) < 0 || syscall(SYS_setuid, user) < 0)
		return -1;
	return plan_die_with_launcher();
}

int plan_do_capabilities(const struct plan_step *step)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].effective = step->value[0] >> 32 * i;
		data[i].permitted = step->value[1] >> 32 * i;
		data[i].inheritable = step->value[2] >> 32 * i;
	}
	if (prctl(PR_SET_KEEPCAPS, 0) < 0 || syscall(SYS_capset, &head, data) < 0)
		return -1;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -1;
	for (int c = 0; c < 64; c++)
		if (step->value[3] >> c & 1)
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0); // one that is not permitted and inheritable stays out
	return 0;
}

// executable checks a file as Go's exec.LookPath does.
static int executable(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return -1;
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return -1;
	}
	return syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS);
}

// look_up finds a command as Go's exec.LookPath does: a name without a slash in the
// directories of a PATH, but not in the working directory. The directories are clean
// paths.
static int look_up(const char *command, const char *dirs, char *path, size_t size)
{
	if (strchr(command, '/')) {
		if (snprintf(path, size, "%s", command) >= (int)size) {
			errno = ENAMETOOLONG;
			return -1;
		}
		return executable(path);
	}
	if (!*command || strcmp(command, ".") == 0 || strcmp(command, "..") == 0 || !*dirs)
		return fail_because(PLAN_NOT_IN_PATH, ENOENT);
	for (const char *dir = dirs;; dir++) {
		int n = strcspn(dir, ":");
		int length = snprintf(path, size, "%.*s%s%s", n, dir, n == 1 && *dir == '/' ? "" : "/", command);
		if (length < (int)size && executable(path) == 0)
			return *path == '/' ? 0 : fail_because(PLAN_IN_WORKING_DIRECTORY, ENOENT);
		dir += n;
		if (*dir == '\0')
			return fail_because(PLAN_NOT_IN_PATH, ENOENT);
	}
}

int plan_do_command(const struct plan_step *step)
{
	char path[PATH_MAX];
	if (look_up(command(), plan_text(step->path), path, sizeof path) < 0)
		return -1;
	run_command(path, page->homed && !has_home() ? home_of_user() : NULL);
}
