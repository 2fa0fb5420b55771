// Files in the container: devices, links, directories, the terminal.
#define _GNU_SOURCE
#include "plan_init.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

static int make_parent(const char *path, const char **last)
{
	char parent[PATH_MAX];
	*last = split(path, parent, sizeof parent);
	return make_in_root(*parent ? parent : "/", 0755, 0);
}

// bind_host_node mounts the host's device where init may not create one.
static int bind_host_node(int dir, const char *last, const char *path)
{
	int host = open(path, O_PATH | O_CLOEXEC);
	int here = openat(dir, last, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0);
	if (host < 0 || here < 0)
		return -1;
	int tree = clone_tree(host, false);
	if (tree < 0 || attach(tree, here) < 0)
		return -1;
	close(tree);
	close(here);
	close(host);
	return 0;
}

static int check_node(int dir, const char *last, const struct plan_step *step)
{
	struct stat st;
	int fd = openat(dir, last, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	if ((st.st_mode & S_IFMT) != (step->mode & S_IFMT) || st.st_rdev != step->value[0])
		return fail_because(PLAN_DEVICE_CHANGED, ENODEV);
	int result = 0;
	if (st.st_uid != step->value[1] || st.st_gid != step->value[2])
		result = fchownat(fd, "", step->value[1], step->value[2], AT_EMPTY_PATH);
	close(fd);
	return result;
}

int plan_do_node(const struct plan_step *step)
{
	const char *path = plan_text(step->path), *last;
	int dir = make_parent(path, &last);
	if (dir < 0)
		return -1;
	mode_t mask = umask(0);
	int result = mknodat(dir, last, step->mode, step->value[0]);
	umask(mask);
	if (result == 0)
		result = check_node(dir, last, step);
	else if (errno == EEXIST)
		result = 0;
	else if (errno == EPERM || errno == EACCES)
		result = bind_host_node(dir, last, path);
	int error = errno;
	close(dir);
	errno = error;
	return result;
}

int plan_do_link(const struct plan_step *step)
{
	const char *last;
	int dir = make_parent(plan_text(step->path), &last);
	if (dir < 0)
		return -1;
	int result = 0;
	if (step->flags & PLAN_REPLACE && unlinkat(dir, last, 0) < 0 && errno != ENOENT)
		result = -1;
	if (result == 0 && symlinkat(plan_text(step->source), dir, last) < 0 && errno != EEXIST)
		result = -1;
	int error = errno;
	close(dir);
	errno = error;
	return result;
}

// plan_do_directory: links are followed inside the container, also to where nothing exists
// yet.
int plan_do_directory(const struct plan_step *step)
{
	int fd = open_in_root(plan_text(step->path), O_PATH | O_DIRECTORY);
	if (fd < 0)
		fd = make_in_root(plan_text(step->path), step->mode, 0);
	if (fd < 0)
		return -1;
	struct stat st;
	int result = fstat(fd, &st);
	close(fd);
	if (result == 0 && !S_ISDIR(st.st_mode)) {
		errno = ENOTDIR;
		fail_at(plan_text(step->path));
		result = -1;
	}
	return result;
}

int plan_do_null(const struct plan_step *step)
{
	(void)step;
	int null = open_in_root("/dev/null", O_RDWR);
	if (null < 0)
		return -1;
	if (!is_device(null, 1, 3))
		return fail_because(PLAN_NOT_NULL, ENODEV);
	for (int fd = 0; fd < 3; fd++)
		if (is_device(fd, 1, 3) && dup2(null, fd) < 0)
			return -1;
	close(null);
	return 0;
}

// new_terminal opens the multiplexer of the container's devpts, and makes sure that it
// is one: /dev/pts is the container's to arrange (CVE-2025-52565).
static int new_terminal(int *terminal)
{
	enum { PTMX_INO = 2 }; // fs/devpts/inode.c, mknod_ptmx
	struct stat st;
	struct statfs fs;
	int master = open_in_root("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW);
	if (master < 0 || fstat(master, &st) < 0 || fstatfs(master, &fs) < 0)
		return -1;
	if (fs.f_type != DEVPTS_SUPER_MAGIC || st.st_ino != PTMX_INO || !is_device(master, 5, 2))
		return fail_because(PLAN_NOT_PTMX, ENODEV);
	int locked = 0;
	if (ioctl(master, TIOCSPTLCK, &locked) < 0)
		return -1;
	*terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return *terminal < 0 ? -1 : master;
}

static int send_file(int socket, int file)
{
	char name[] = "terminal";
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof file)];
	} control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof file)}};
	memcpy(CMSG_DATA(&control.head), &file, sizeof file);
	struct iovec data = {.iov_base = name, .iov_len = sizeof name};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
	return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

// mount_console mounts the terminal on /dev/console, which is made if it does not exist. A
// link is refused, so that nothing outside of /dev is mounted on. The file is opened with
// O_PATH only: opening a FIFO would wait for a writer.
static int mount_console(int terminal)
{
	int dev = open_in_root("/dev", O_PATH | O_DIRECTORY);
	if (dev < 0)
		return -1;
	if (mknodat(dev, "console", S_IFREG | 0666, 0) < 0 && errno != EEXIST)
		return -1;
	struct stat st;
	int console = openat(dev, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (console < 0 || fstat(console, &st) < 0)
		return -1;
	if (S_ISLNK(st.st_mode)) {
		errno = ELOOP;
		return -1;
	}
	int tree = clone_tree(terminal, false);
	if (tree < 0 || attach(tree, console) < 0)
		return -1;
	close(tree);
	close(console);
	close(dev);
	return 0;
}

int plan_do_console(const struct plan_step *step)
{
	int terminal;
	int master = new_terminal(&terminal);
	if (master < 0)
		return -1;
	struct winsize size = {.ws_col = step->value[0], .ws_row = step->value[1]};
	if (size.ws_col && size.ws_row && ioctl(master, TIOCSWINSZ, &size) < 0)
		return -1;
	if (mount_console(terminal) < 0 || send_file(step->mode, master) < 0)
		return -1;
	for (int fd = 0; fd < 3; fd++)
		if (dup2(terminal, fd) < 0)
			return -1;
	close(master);
	close(terminal);
	return ioctl(STDIN_FILENO, TIOCSCTTY, 0); // the session is init's own
}
