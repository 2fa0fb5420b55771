// The steps of a kept launch: what the launcher makes for a container. Each is a call or
// two of what Go does at the same place (rootfs/overlay.go, etc.go, cgroup.go).
#define _GNU_SOURCE
#include "kept.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *next(const char *text)
{
	return text + strlen(text) + 1;
}

// do_make makes a directory, which did not exist. One that is a container's root gets the
// owner and the mode of the image's.
static int do_make(const struct kept_step *s)
{
	const char *path = kept_text(s->path);
	if (mkdir(path, s->mode & 0755) < 0)
		return -1;
	if (s->user == UINT32_MAX)
		return 0;
	return chown(path, s->user, s->group) < 0 ? -1 : chmod(path, s->mode);
}

enum { DIRECTORIES = 512 }; // of an overlay; rootfs/overlay.go has fewer

// mount_overlay mounts one of directories that are open: of the upper, the work, and the
// lower ones.
static int mount_overlay(const char *path, const int *directories, uint32_t count, const char *options)
{
	char data[4096];
	int n = snprintf(data, sizeof data, "upperdir=%d,workdir=%d,lowerdir=%d", directories[0], directories[1], directories[2]);
	for (uint32_t i = 3; i < count && n < (int)sizeof data; i++)
		n += snprintf(data + n, sizeof data - n, ":%d", directories[i]);
	if (n < (int)sizeof data)
		n += snprintf(data + n, sizeof data - n, "%s", options);
	return n < (int)sizeof data ? mount("overlay", path, "overlay", 0, data) : -1;
}

// do_overlay passes the directories by their numbers in /proc/self/fd, so that no character
// of a path is taken for a separator.
static int do_overlay(const struct kept_step *s)
{
	int directories[DIRECTORIES], before = open(".", O_PATH | O_CLOEXEC), result = -1;
	size_t size;
	const char *path = kept_texts(s->list, &size);
	uint32_t count = 0;
	bool all = before >= 0 && size > 0 && s->list.count <= DIRECTORIES;
	for (; all && count < s->list.count; count++, path = next(path)) {
		directories[count] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		all = directories[count] >= 0;
	}
	if (all && chdir("/proc/self/fd") == 0) {
		result = mount_overlay(kept_text(s->path), directories, count, kept_text(s->source));
		if (fchdir(before) < 0)
			result = -1;
	}
	while (count > 0)
		close(directories[--count]);
	close(before);
	return result;
}

static int do_tmpfs(const struct kept_step *s)
{
	return mount("tmpfs", kept_text(s->path), "tmpfs", MS_NOSUID | MS_NODEV, kept_text(s->source));
}

// write_all writes a text to a file by one write(2), as the files of the kernel want it.
static int write_all(const char *path, int flags, const char *text, size_t size)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
	if (fd < 0)
		return -1;
	int result = write(fd, text, size) == (ssize_t)size ? 0 : -1;
	return close(fd) < 0 ? -1 : result;
}

static int do_file(const struct kept_step *s)
{
	const char *text = kept_text(s->source);
	return write_all(kept_text(s->path), O_CREAT | O_EXCL | O_NOFOLLOW, text, strlen(text));
}

// do_bind mounts a file onto one in the root, in which links lead as if that were "/".
static int do_bind(const struct kept_step *s)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	size_t size;
	struct stat st;
	int root = open(kept_texts(s->list, &size), O_PATH | O_DIRECTORY | O_CLOEXEC), target = -1, tree = -1, result = -1;
	if (root >= 0)
		target = syscall(SYS_openat2, root, kept_text(s->path), &how, sizeof how);
	if (target >= 0 && fstat(target, &st) == 0 && !S_ISDIR(st.st_mode))
		tree = syscall(SYS_open_tree, AT_FDCWD, kept_text(s->source), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree >= 0 && (s->mode == 0 || syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &read_only, sizeof read_only) == 0))
		result = syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	close(root);
	close(target);
	close(tree);
	return result;
}

static int do_append(const struct kept_step *s)
{
	const char *text = kept_text(s->source);
	return write_all(kept_text(s->path), O_APPEND | O_NOFOLLOW, text, strlen(text));
}

// read_small reads a file of the kernel's.
static ssize_t read_small(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, size);
	close(fd);
	return n;
}

static int do_copy(const struct kept_step *s)
{
	char text[4096];
	ssize_t n = read_small(kept_text(s->source), text, sizeof text);
	return n < 0 ? -1 : write_all(kept_text(s->path), 0, text, n);
}

static int do_write(const struct kept_step *s)
{
	size_t size;
	const char *text = kept_texts(s->list, &size);
	int fd = open(kept_text(s->path), O_WRONLY | O_CLOEXEC), result = fd < 0 ? -1 : 0;
	for (uint32_t i = 0; result == 0 && i < s->list.count; i++, text = next(text))
		if (write(fd, text, strlen(text)) < 0)
			result = -1;
	close(fd);
	return result;
}

static int do_expect(const struct kept_step *s)
{
	char text[4096];
	const char *wanted = kept_text(s->source);
	ssize_t n = read_small(kept_text(s->path), text, sizeof text);
	if (n < 0 && errno == ENOENT && s->mode == 1)
		return 0;
	return n == (ssize_t)strlen(wanted) && memcmp(text, wanted, n) == 0 ? 0 : -1;
}

// do_devices has a program decide which devices a cgroup of version 2 may use.
static int do_devices(const struct kept_step *s)
{
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insn_cnt = s->list.count / sizeof(struct bpf_insn),
		.insns = (uintptr_t)kept_bytes(s->list), .license = (uintptr_t)kept_text(s->source),
	};
	int cgroup = open(kept_text(s->path), O_RDONLY | O_DIRECTORY | O_CLOEXEC), program = -1, result = -1;
	if (cgroup >= 0)
		program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	union bpf_attr attach = {
		.target_fd = cgroup, .attach_bpf_fd = program, .attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI,
	};
	if (program >= 0)
		result = syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach);
	close(program);
	close(cgroup);
	return result;
}

int kept_carry_out(struct kept_list steps)
{
	static int (*const kinds[KEPT_KINDS])(const struct kept_step *) = {
		[KEPT_MAKE] = do_make,
		[KEPT_OVERLAY] = do_overlay,
		[KEPT_TMPFS] = do_tmpfs,
		[KEPT_FILE] = do_file,
		[KEPT_BIND] = do_bind,
		[KEPT_COPY] = do_copy,
		[KEPT_WRITE] = do_write,
		[KEPT_EXPECT] = do_expect,
		[KEPT_APPEND] = do_append,
		[KEPT_DEVICES] = do_devices,
	};
	const struct kept_step *s = kept_bytes(steps);
	for (uint32_t i = 0; i < steps.count; i++)
		if (kinds[s[i].kind](&s[i]) < 0 || !kept_room())
			return -1;
	return 0;
}
