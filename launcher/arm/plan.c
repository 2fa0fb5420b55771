// Init carries out a plan (plan.h) instead of libcontainer's Go code. A constructor
// (join.c) begins it: this process is in its PID namespace and its cgroups, has one
// thread, and the Go runtime will never start in it.
#define _GNU_SOURCE
#include "plan_init.h"
#include "quit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const struct plan *plan;

const char *plan_text(uint32_t offset)
{
	return offset ? (const char *)plan + offset : "";
}

const void *plan_list(const struct plan_step *step)
{
	return (const char *)plan + step->list;
}

int fail_because(enum plan_reason reason, int error)
{
	page->reason = reason;
	errno = error;
	return -1;
}

int fail_at(const char *path)
{
	size_t n = strnlen(path, sizeof page->path - 1);
	memcpy(page->path, path, n);
	page->path[n] = '\0';
	return -1;
}

// lists reports whether the list of a step ends before the file does.
static bool lists(const struct plan *p, const struct plan_step *step)
{
	if (step->kind == PLAN_USER)
		return step->list % sizeof(uint32_t) == 0 && step->number <= (p->size - step->list) / sizeof(uint32_t);
	if (step->kind != PLAN_MOUNT && step->kind != PLAN_MASK)
		return true;
	uint32_t at = step->list;
	for (uint32_t i = 0; i < step->number; i++) {
		if (at >= p->size)
			return false;
		at += strlen((const char *)p + at) + 1;
	}
	return true;
}

// whole reports whether a plan ends where it says, and no step points out of it. Its
// last byte is a NUL, so every text that begins in it ends there.
static bool whole(const struct plan *p, size_t size)
{
	if (size < sizeof *p || memcmp(p->magic, PLAN_MAGIC, sizeof p->magic) != 0)
		return false;
	if (p->version != PLAN_VERSION || p->size != size || ((const char *)p)[size - 1] != '\0')
		return false;
	if (p->steps > (size - sizeof *p) / sizeof(struct plan_step))
		return false;
	const struct plan_step *step = (const struct plan_step *)(p + 1);
	for (uint32_t i = 0; i < p->steps; i++, step++) {
		if (step->path >= size || step->source >= size || step->type >= size || step->list >= size)
			return false;
		if (!lists(p, step))
			return false;
	}
	return true;
}

static int map_plan(int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -1;
	void *mem = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (mem == MAP_FAILED)
		return -1;
	if (!whole(mem, st.st_size)) {
		errno = EBADMSG;
		return -1;
	}
	plan = mem;
	return 0;
}

// plan_die_with_launcher: the launcher may have ended before the signal was set. Then
// nobody has the other end of the page's pipe, PAGE_FD + 1.
int plan_die_with_launcher(void)
{
	if (page->outlives)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -1;
	struct pollfd pipe = {.fd = PAGE_FD + 1};
	if (poll(&pipe, 1, 0) > 0 && pipe.revents & POLLERR)
		_exit(255);
	return 0;
}

// proc returns a procfs of the container's PID namespace that is mounted nowhere, so
// that nothing can be mounted on what is written there (CVE-2025-52881).
static int proc(void)
{
	static int fd = -1;
	if (fd >= 0)
		return fd;
	int fs = syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -1;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	else if (errno == EPERM) // a user with the host's PID namespace: /proc is a bind mount
		fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int error = errno;
	close(fs);
	errno = error;
	return fd;
}

int write_proc(const char *path, const char *text)
{
	int dir = proc();
	if (dir < 0)
		return -1;
	struct open_how how = {
		.flags = O_WRONLY | O_TRUNC | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	int fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return n < 0 ? -1 : 0;
}

bool is_device(int fd, unsigned major, unsigned minor)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(major, minor);
}

// The permissions of a keyring are the fourth field of its description, in hexadecimal
// (keyctl(2), KEYCTL_DESCRIBE).
static int do_keyring(const struct plan_step *step)
{
	char text[512]; // a name has 255 bytes at most
	long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan_text(step->path));
	if (ring < 0)
		return errno == ENOSYS ? 0 : -1;
	long n = syscall(SYS_keyctl, KEYCTL_DESCRIBE, ring, text, sizeof text);
	if (n < 0)
		return -1;
	const char *field = n <= (long)sizeof text ? text : NULL;
	for (int i = 0; field && i < 3; i++) {
		field = strchr(field, ';');
		if (field)
			field++;
	}
	if (!field) {
		errno = EBADMSG;
		return -1;
	}
	unsigned long permissions = strtoul(field, NULL, 16) | step->mode;
	return syscall(SYS_keyctl, KEYCTL_SETPERM, ring, permissions);
}

static int do_namespaces(const struct plan_step *step)
{
	return syscall(SYS_unshare, step->value[0]);
}

static int do_join(const struct plan_step *step)
{
	if (syscall(SYS_setns, step->mode, step->value[0]) < 0)
		return -1;
	return close(step->mode);
}

static int do_loopback(const struct plan_step *step)
{
	(void)step;
	struct ifreq lo = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	int result = ioctl(fd, SIOCGIFFLAGS, &lo);
	if (result == 0) {
		lo.ifr_flags |= IFF_UP;
		result = ioctl(fd, SIOCSIFFLAGS, &lo);
	}
	int error = errno;
	close(fd);
	errno = error;
	return result;
}

static int do_oom_score(const struct plan_step *step)
{
	return write_proc("self/oom_score_adj", plan_text(step->path));
}

static int do_umask(const struct plan_step *step)
{
	umask(step->mode);
	return 0;
}

static int do_host_name(const struct plan_step *step)
{
	const char *name = plan_text(step->path);
	return syscall(step->kind == PLAN_HOST_NAME ? SYS_sethostname : SYS_setdomainname, name, strlen(name));
}

// attr/apparmor exists from Linux 5.8 on; attr/exec is of the first module that has one.
static int do_apparmor(const struct plan_step *step)
{
	int result = write_proc("thread-self/attr/apparmor/exec", plan_text(step->path));
	if (result < 0 && errno == ENOENT)
		result = write_proc("thread-self/attr/exec", plan_text(step->path));
	return result;
}

static int do_sysctl(const struct plan_step *step)
{
	return write_proc(plan_text(step->path), plan_text(step->source));
}

static int do_no_new_privs(const struct plan_step *step)
{
	(void)step;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int do_rlimit(const struct plan_step *step)
{
	return syscall(SYS_prlimit64, 0, step->number, &step->value[0], NULL);
}

static int do_hooks(const struct plan_step *step)
{
	(void)step;
	__atomic_store_n(&page->hooks, HOOKS_WAIT, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&page->hooks, __ATOMIC_SEQ_CST) == HOOKS_WAIT)
		syscall(SYS_futex, &page->hooks, FUTEX_WAIT, HOOKS_WAIT, NULL, NULL, 0);
	return 0;
}

static int do_arm(const struct plan_step *step)
{
	(void)step;
	errno = arm_start();
	return errno ? -1 : 0;
}

static int carry_out(const struct plan_step *step)
{
	static int (*const steps[PLAN_KINDS])(const struct plan_step *) = {
		[PLAN_KEYRING] = do_keyring,
		[PLAN_NAMESPACES] = do_namespaces,
		[PLAN_JOIN] = do_join,
		[PLAN_USERS] = plan_do_users,
		[PLAN_LOOPBACK] = do_loopback,
		[PLAN_OOM_SCORE] = do_oom_score,
		[PLAN_ROOT] = plan_do_root,
		[PLAN_MOUNT] = plan_do_mount,
		[PLAN_BIND] = plan_do_bind,
		[PLAN_NODE] = plan_do_node,
		[PLAN_LINK] = plan_do_link,
		[PLAN_HOOKS] = do_hooks,
		[PLAN_PIVOT] = plan_do_pivot,
		[PLAN_NULL] = plan_do_null,
		[PLAN_DIRECTORY] = plan_do_directory,
		[PLAN_CONSOLE] = plan_do_console,
		[PLAN_READ_ONLY] = plan_do_read_only,
		[PLAN_UMASK] = do_umask,
		[PLAN_HOST_NAME] = do_host_name,
		[PLAN_DOMAIN_NAME] = do_host_name,
		[PLAN_APPARMOR] = do_apparmor,
		[PLAN_SYSCTL] = do_sysctl,
		[PLAN_PROTECT] = plan_do_protect,
		[PLAN_MASK] = plan_do_mask,
		[PLAN_NO_NEW_PRIVS] = do_no_new_privs,
		[PLAN_RLIMIT] = do_rlimit,
		[PLAN_ARM] = do_arm,
		[PLAN_ENTER] = plan_do_enter,
		[PLAN_BOUNDING] = plan_do_bounding,
		[PLAN_USER] = plan_do_user,
		[PLAN_CAPABILITIES] = plan_do_capabilities,
		[PLAN_COMMAND] = plan_do_command,
	};
	if (step->kind >= PLAN_KINDS || !steps[step->kind]) {
		errno = EBADMSG;
		return -1;
	}
	return steps[step->kind](step);
}

// Nobody may look into init or take its files, not even a process of the same user in the
// container's PID namespace (CVE-2016-9962). execve(2) allows it again.
static int begin(int fd)
{
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || plan_die_with_launcher() < 0)
		return -1;
	prctl(PR_SET_NAME, "minirun-init"); // instead of the number of the descriptor that it was executed by
	quit_on_signals();
	return map_plan(fd);
}

_Noreturn void carry_out_plan(int fd)
{
	page->at = UINT32_MAX;
	if (begin(fd) < 0)
		fail_init(STEP_PLAN, errno);
	const struct plan_step *step = (const struct plan_step *)(plan + 1);
	for (uint32_t i = 0; i < plan->steps; i++) {
		page->at = i;
		if (carry_out(step + i) < 0)
			fail_init(STEP_PLAN, errno);
	}
	fail_init(STEP_PLAN, EBADMSG); // a plan ends with PLAN_COMMAND
}
