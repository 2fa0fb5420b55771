// The init of a launch that is carried out as it was kept: what it gets, and its start.
#define _GNU_SOURCE
#include "kept.h"
#include "wait.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Of arm (start.c), whose headers go(1) would not know that this depends on.
int page_new(void **mem, size_t *mem_size, const char *texts, size_t size, const uint32_t count[3], bool born,
	     const void *program, uint32_t instructions, uint32_t flags);
enum { INIT_FILES = 9 };
pid_t init_start(const int *files, int count, char *name, uint64_t namespaces, int cgroup, int *pidfd);

enum { INSTRUCTION = 8 }; // bytes

// sealed_program returns a view of this binary that nobody can write to, so that the
// container cannot get at the host's (CVE-2019-5736): an overlay of lower directories alone,
// as runc's exeseal makes it. *mounted is its mount. The caller closes that while init is at
// work, since the kernel waits for all processors when it ends a mount.
static int sealed_program(int *mounted)
{
	char path[4096], lower[8192];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	if (n <= 0)
		return -1;
	path[n] = '\0';
	char *name = strrchr(path, '/');
	if (!name)
		return -1;
	snprintf(lower, sizeof lower, "%.*s/:%s", (int)(name - path), path, kept_text(kept->run_root));
	int fs = syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC), file = -1;
	if (fs >= 0 && syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "lowerdir", lower, 0) == 0) {
		syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "xino", "off", 0);
		if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
			*mounted = kept_hold(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID));
	}
	if (*mounted >= 0)
		file = openat(*mounted, name + 1, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	close(fs);
	return file;
}

// write_plan returns a sealed memfd with init's plan.
static int write_plan(void)
{
	char *plan = kept_take(kept->plan.count);
	if (!plan)
		return -1;
	memcpy(plan, kept_bytes(kept->plan), kept->plan.count);
	const struct kept_patch *p = kept_bytes(kept->patches);
	for (uint32_t i = 0; i < kept->patches.count; i++) {
		const char *text = kept_text(p[i].text);
		size_t size = strlen(text) + 1;
		if (size > p[i].room)
			return -1;
		memcpy(plan + p[i].at, text, size);
	}
	int fd = memfd_create("minirun-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd >= 0 && kept_room() && write(fd, plan, kept->plan.count) == kept->plan.count &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool make_page(struct kept_init *init)
{
	size_t cgroups, args, words, env;
	const char *texts = kept_texts(kept->cgroups, &cgroups); // what follows comes after it
	kept_texts(kept->args, &args);
	const uint32_t count[] = {kept->cgroups.count, kept->args.count + kept_words(&words), kept->env.count};
	kept_texts(kept->env, &env);
	if (!kept_room() || count[1] == 0)
		return false;
	init->page = kept_hold(page_new(&init->shared, &init->shared_size, texts, cgroups + args + words + env, count, *texts != '\0',
				    kept_bytes(kept->filter), kept->filter.count / INSTRUCTION, kept->filter_flags));
	return init->page >= 0;
}

// ends are the two of a pipe.
struct ends { int read, write; };

static bool make_pipe(struct ends *p)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	*p = (struct ends){kept_hold(fds[0]), kept_hold(fds[1])};
	return true;
}

// make_pipes makes init's standard files, and notes their other ends.
static bool make_pipes(int files[3])
{
	struct ends in = {-1, -1}, out, error;
	if (!make_pipe(&out) || !make_pipe(&error))
		return false;
	if (kept->interactive ? !make_pipe(&in) : (in.read = kept_hold(open("/dev/null", O_RDONLY | O_CLOEXEC))) < 0)
		return false;
	files[0] = in.read;
	files[1] = out.write;
	files[2] = error.write;
	record->from[STREAM_OUT] = out.read;
	record->to[STREAM_OUT] = STDOUT_FILENO;
	record->from[STREAM_ERR] = error.read;
	record->to[STREAM_ERR] = STDERR_FILENO;
	if (kept->interactive) {
		record->from[STREAM_IN] = STDIN_FILENO;
		record->to[STREAM_IN] = in.write;
	}
	return true;
}

// make_socket makes the socket over which init sends the terminal that it makes; that replaces its
// standard files. It returns false if the user has no terminal but needs one: Go says so.
static bool make_socket(struct kept_init *init, int files[3], int *socket)
{
	int pair[2];
	if (isatty(STDIN_FILENO))
		record->host = STDIN_FILENO;
	else if (kept->interactive)
		return false;
	else if (isatty(STDOUT_FILENO))
		record->host = STDOUT_FILENO;
	for (int i = 0; i < 3; i++)
		if ((files[i] = kept_hold(open("/dev/null", O_RDWR | O_CLOEXEC))) < 0)
			return false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	init->console = kept_hold(pair[0]);
	*socket = kept_hold(pair[1]);
	return true;
}

// receive_file receives what has been sent over a socket (SCM_RIGHTS, unix(7)).
static int receive_file(int socket)
{
	int file;
	char name[64];
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof file)];
	} control;
	struct iovec data = {.iov_base = name, .iov_len = sizeof name};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		return -1;
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof file))
		return -1;
	memcpy(&file, CMSG_DATA(head), sizeof file);
	return file;
}

// The size is set before the command begins (wait_streams.c). The container's side stays open, as
// in tty.go.
bool kept_take_terminal(struct kept_init *init)
{
	if (!kept->terminal)
		return true;
	int master = kept_hold(receive_file(init->console));
	kept_release(init->console);
	if (master < 0)
		return false;
	record->slave = kept_hold(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
	record->from[STREAM_OUT] = master;
	record->to[STREAM_OUT] = STDOUT_FILENO;
	if (kept->interactive) {
		record->from[STREAM_IN] = STDIN_FILENO;
		record->to[STREAM_IN] = master;
		record->raw = 1;
	}
	return record->slave >= 0;
}

// init_files makes what init gets. It returns how many files these are, or -1.
static int init_files(struct kept_init *init, int files[INIT_FILES], int network, int *mounted)
{
	int count = 5;
	struct ends end;
	if (!make_page(init) || !make_pipe(&end))
		return -1;
	files[3] = init->page;
	files[4] = end.write;
	init->pipe = end.read;
	if (kept->terminal ? !make_socket(init, files, &files[count++]) : !make_pipes(files))
		return -1;
	if (network >= 0)
		files[count++] = network;
	int plan = files[count++] = kept_hold(write_plan());
	int sealed = files[count++] = kept_hold(sealed_program(mounted));
	return plan >= 0 && sealed >= 0 ? count : -1;
}

bool kept_start_init(struct kept_init *init, char *name, int network)
{
	int files[INIT_FILES], mounted = -1;
	*init = (struct kept_init){.pidfd = -1, .page = -1, .pipe = -1, .console = -1};
	int count = init_files(init, files, network, &mounted);
	if (count < 0)
		return false;
	const char *unified = kept_text(kept->cgroups.at);
	int cgroup = *unified ? open(unified, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (*unified && cgroup < 0)
		return false;
	init->pid = init_start(files, count, name, kept->namespaces, cgroup, &init->pidfd);
	close(cgroup);
	for (int i = 0; i < count; i++)
		if (files[i] != init->page && files[i] != network)
			kept_release(files[i]);
	kept_release(mounted);
	kept_hold(init->pidfd);
	record->pid = init->pid;
	record->init = init->pidfd;
	return init->pid > 0;
}
