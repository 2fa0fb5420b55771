// The container's root: its mounts, and how it becomes "/". Mounts are made aside and
// attached to descriptors (fsopen(2), open_tree(2), move_mount(2)), which plan_path.c opens.
#define _GNU_SOURCE
#include "plan_init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

// From sys/mount.h, which conflicts with linux/mount.h in some versions of glibc.
enum { KERNEL_MS_REC = 16384, KERNEL_MNT_DETACH = 2 };

int plan_root = -1;
static struct stat root; // plan_root's

static int set_attributes(int mount, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = propagation};
	return syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | flags, &attr, sizeof attr);
}

static int propagate(int mount, uint64_t propagation)
{
	if (propagation == 0)
		return 0;
	unsigned flags = propagation & KERNEL_MS_REC ? AT_RECURSIVE : 0;
	return set_attributes(mount, flags, 0, 0, propagation & ~(uint64_t)KERNEL_MS_REC);
}

int clone_tree(int fd, bool recursive)
{
	return syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0));
}

// attach: for a directory on something else move_mount(2) returns EINVAL, and mount(2) the
// clearer ENOTDIR.
int attach(int mount, int target)
{
	struct stat from, to;
	int result = syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	if (result < 0 && errno == EINVAL && fstat(mount, &from) == 0 && fstat(target, &to) == 0)
		errno = S_ISDIR(from.st_mode) != S_ISDIR(to.st_mode) ? ENOTDIR : EINVAL;
	return result;
}

// All mounts in init's namespace become slaves, so that no mount of init's appears on the
// host. The root is private, so that no later mount of the host's appears in it.
int plan_do_root(const struct plan_step *step)
{
	const char *path = plan_text(step->path);
	int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (host < 0 || set_attributes(host, AT_RECURSIVE, 0, 0, MS_SLAVE) < 0)
		return -1;
	close(host);
	int below = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (below < 0)
		return -1;
	plan_root = clone_tree(below, true);
	if (plan_root < 0 || fstat(plan_root, &root) < 0 || set_attributes(plan_root, 0, 0, 0, MS_PRIVATE) < 0)
		return -1;
	int result = attach(plan_root, below);
	close(below);
	return result;
}

static bool on_procfs(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

// may_mount refuses a mount on the root itself and in /proc (CVE-2019-16884,
// CVE-2019-19921): who can hide a part of it can hide what it says of the process. procfs
// says that a procfs is to be mounted.
static int may_mount(const struct plan_step *step, int target, bool procfs)
{
	enum { PROC_ROOT_INO = 1 }; // linux/proc_ns.h
	struct stat at;
	if (fstat(target, &at) < 0)
		return -1;
	if (at.st_dev == root.st_dev && at.st_ino == root.st_ino)
		return fail_because(PLAN_AT_THE_ROOT, EINVAL);
	bool in_proc = on_procfs(target), at_proc = in_proc && at.st_ino == PROC_ROOT_INO;
	if ((at_proc || step->flags & PLAN_AT_PROC) && !procfs)
		return fail_because(PLAN_NOT_PROC, EINVAL);
	if (in_proc && !at_proc && !(step->flags & PLAN_IN_PROC))
		return fail_because(PLAN_INSIDE_PROC, EINVAL);
	return 0;
}

// configure gives a new file system an option, NAME or NAME=VALUE.
static int configure(int fs, const char *option)
{
	char name[256]; // strndup_user in fs/fsopen.c takes as much
	const char *value = strchr(option, '=');
	if (!value)
		return syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, option, NULL, 0);
	if ((size_t)(value - option) >= sizeof name) {
		errno = EINVAL;
		return -1;
	}
	memcpy(name, option, value - option);
	name[value - option] = '\0';
	return syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, name, value + 1, 0);
}

// new_mount makes a file system and a mount of it, which is not attached yet. mode is that
// of a tmpfs, in octal, or NULL.
static int new_mount(const struct plan_step *step, const char *mode)
{
	int fs = syscall(SYS_fsopen, plan_text(step->type), FSOPEN_CLOEXEC);
	if (fs < 0)
		return -1;
	int mount = -1;
	if (*plan_text(step->source) && syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", plan_text(step->source), 0) < 0)
		goto out;
	if (mode && syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", mode, 0) < 0)
		goto out;
	const char *option = plan_list(step);
	for (uint32_t i = 0; i < step->number; i++, option = option + strlen(option) + 1)
		if (configure(fs, option) < 0)
			goto out;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, step->value[0]);
out:;
	int error = errno;
	close(fs);
	errno = error;
	return mount;
}

static int directory_without_links(const char *path)
{
	int fd = make_in_root(path, 0755, O_NOFOLLOW);
	if (fd < 0 && (errno == ELOOP || errno == ENOTDIR || errno == EEXIST))
		return fail_because(PLAN_NOT_A_DIRECTORY, errno);
	struct stat st;
	if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		return fail_because(PLAN_NOT_A_DIRECTORY, ENOTDIR);
	return fd;
}

int plan_do_mount(const struct plan_step *step)
{
	const char *path = plan_text(step->path);
	char octal[8], *mode = NULL;
	int target = step->flags & PLAN_NO_LINKS ? directory_without_links(path) : open_in_root(path, O_PATH);
	if (target < 0 && errno == ENOENT)
		target = make_in_root(path, 0755, 0);
	else if (target >= 0 && step->flags & PLAN_KEEP_MODE) {
		struct stat st;
		if (fstat(target, &st) < 0)
			return -1;
		snprintf(octal, sizeof octal, "%04o", st.st_mode & 07777);
		mode = octal;
	}
	if (target < 0 || may_mount(step, target, strcmp(plan_text(step->type), "proc") == 0) < 0)
		return -1;
	int mount = new_mount(step, mode);
	if (mount < 0 || attach(mount, target) < 0 || propagate(mount, step->value[3]) < 0)
		return -1;
	close(mount);
	close(target);
	return 0;
}

// change_attributes changes those of a mount. In a user namespace the flags of the host's
// mounts are locked (mount_namespaces(7)): they stay, as with libcontainer.
static int change_attributes(int mount, uint64_t set, uint64_t clear)
{
	struct statfs fs;
	int result = set_attributes(mount, 0, set, clear, 0);
	if (result == 0 || errno != EPERM)
		return result;
	if (fstatfs(mount, &fs) < 0)
		return -1;
	uint64_t have = fs.f_flags & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC); // the numbers of MOUNT_ATTR_*
	return set_attributes(mount, 0, set | have, clear, 0);
}

static int copy_source(const struct plan_step *step)
{
	int source = open(plan_text(step->source), O_PATH | O_CLOEXEC);
	if (source < 0)
		return -1;
	int tree = clone_tree(source, step->flags & PLAN_RECURSIVE);
	int error = errno;
	close(source);
	errno = error;
	return tree;
}

int plan_do_bind(const struct plan_step *step)
{
	const char *path = plan_text(step->path);
	struct stat st;
	int tree = step->flags & PLAN_OPENED ? (int)step->mode : copy_source(step);
	if (tree < 0 || fstat(tree, &st) < 0)
		return -1;
	int target = open_in_root(path, O_PATH);
	if (target < 0 && errno == ENOENT)
		target = make_in_root(path, S_ISDIR(st.st_mode) ? 0755 : S_IFREG | 0644, 0);
	if (target < 0 || may_mount(step, target, on_procfs(tree)) < 0)
		return -1;
	if (step->flags & PLAN_CHANGE && change_attributes(tree, step->value[0], step->value[1]) < 0)
		return -1;
	if (attach(tree, target) < 0 || propagate(tree, step->value[3]) < 0)
		return -1;
	if (step->value[2] && set_attributes(tree, AT_RECURSIVE, step->value[2], 0, 0) < 0)
		return -1;
	close(tree);
	close(target);
	return 0;
}

// pivot_root(".", ".") puts the old root on top of the new one, from where it is
// unmounted (pivot_root(2), NOTES).
int plan_do_pivot(const struct plan_step *step)
{
	(void)step;
	int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (old < 0 || fchdir(plan_root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || fchdir(old) < 0)
		return -1;
	// Nothing of what is unmounted here may be unmounted on the host.
	if (set_attributes(old, AT_RECURSIVE, 0, 0, MS_SLAVE) < 0 || syscall(SYS_umount2, ".", KERNEL_MNT_DETACH) < 0)
		return -1;
	close(old);
	return chdir("/");
}

int plan_do_read_only(const struct plan_step *step)
{
	int fd = open_in_root(plan_text(step->path), O_PATH);
	if (fd < 0)
		return -1;
	int result = set_attributes(fd, 0, MOUNT_ATTR_RDONLY, 0, 0);
	int error = errno;
	close(fd);
	errno = error;
	return result;
}

int plan_do_protect(const struct plan_step *step)
{
	int fd = open_in_root(plan_text(step->path), O_PATH);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	int tree = clone_tree(fd, true);
	if (tree < 0 || set_attributes(tree, 0, MOUNT_ATTR_RDONLY, 0, 0) < 0 || attach(tree, fd) < 0)
		return -1;
	close(tree);
	close(fd);
	return 0;
}

// new_mask returns a mount that hides a file or a directory: the container's /dev/null,
// which is checked to be the null device (CVE-2025-31133), or an empty tmpfs, which all
// directories share.
static int new_mask(bool directory, const struct plan_step *tmpfs)
{
	static int null = -1, empty = -1;
	if (directory) {
		if (empty >= 0)
			return clone_tree(empty, false);
		empty = new_mount(tmpfs, NULL);
		return empty;
	}
	if (null < 0)
		null = open_in_root("/dev/null", O_PATH);
	if (null < 0)
		return -1;
	if (!is_device(null, 1, 3))
		return fail_because(PLAN_NOT_NULL, ENODEV);
	return clone_tree(null, false);
}

int plan_do_mask(const struct plan_step *step)
{
	struct stat st;
	int fd = open_in_root(plan_text(step->path), O_PATH);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (fstat(fd, &st) < 0)
		return -1;
	int mask = new_mask(S_ISDIR(st.st_mode), step);
	if (mask < 0 || attach(mask, fd) < 0)
		return -1;
	close(fd);
	return 0; // mask stays open: it may be what others are copied from
}
