// A launch that is carried out as it was kept (kept.h), from the first instruction of the
// process to the moment in which the launcher waits for its container (wait.c). There is
// one thread, no memory is allocated, and the Go runtime starts only if something is not
// as it was.
#define _GNU_SOURCE
#include "arm/libc.h"
#include "engine.h"
#include "kept.h"
#include "signals.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *program; // the first argument
static int image = -1, lock = -1;
static struct kept_init init;
static struct kept_network network;
static int held[32], held_count; // files that Go is not to find open
static sigset_t mask;
static mode_t umask_before;

int kept_hold(int fd)
{
	if (fd >= 0 && held_count < (int)(sizeof held / sizeof *held))
		held[held_count++] = fd;
	return fd;
}

void kept_release(int fd)
{
	for (int i = 0; i < held_count; i++)
		if (held[i] == fd)
			held[i] = held[--held_count];
	close(fd);
}

static bool lock_image(void)
{
	struct stat opened, there;
	const char *path = kept_text(kept->image);
	image = kept_hold(open(path, O_RDONLY | O_CLOEXEC));
	return image >= 0 && flock(image, LOCK_SH | LOCK_NB) == 0 && fstat(image, &opened) == 0 && stat(path, &there) == 0 &&
	       opened.st_ino == there.st_ino && opened.st_dev == there.st_dev;
}

static bool private_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", "", MS_REC | MS_SLAVE, "") < 0)
		return false;
	umask(022);
	return true;
}

// put_text adds a text to the record.
static uint32_t put_text(size_t *used, const char *text, size_t size)
{
	uint32_t at = *used;
	memcpy((char *)record + at, text, size);
	*used += size;
	return at;
}

static uint32_t put(size_t *used, const char *text)
{
	return put_text(used, text, strlen(text) + 1);
}

// make_record makes what wait.c goes by, and by which a launch is undone.
static bool make_record(const char *directory)
{
	size_t mounts_size, cgroups_size, used = sizeof *record;
	const char *mounts = kept_texts(kept->mounts, &mounts_size), *cgroups = kept_texts(kept->cgroups, &cgroups_size);
	const char *state = kept_text(kept->state), *launch = kept_text(kept->launch);
	const char *command = kept_text(kept->command), *workdir = kept_text(kept->workdir);
	size_t size = used + mounts_size + cgroups_size + strlen(directory) + strlen(state) + strlen(launch) + strlen(command) + strlen(workdir) + 7;
	int file = kept_hold(memfd_create("minirun-wait", MFD_CLOEXEC));
	if (!kept_room() || file < 0 || ftruncate(file, size) < 0)
		return false;
	struct wait_record *r = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (r == MAP_FAILED)
		return false;
	*r = (struct wait_record){
		.version = WAIT_VERSION, .size = size, .launcher = getpid(), .self = file,
		.init = -1, .page = -1, .pipe = -1, .signals = -1, .lock = lock, .from = {-1, -1, -1}, .to = {-1, -1, -1},
		.slave = -1, .host = -1, .stop = kept->stop, .keep = kept->keep, .kills = kept->kills, .kill_after = kept->kill_after,
		.mount_count = kept->mounts.count,
	};
	memcpy(r->magic, WAIT_MAGIC, sizeof r->magic);
	prctl(PR_GET_NAME, r->name);
	record = r;
	r->command = put(&used, command);
	r->workdir = put(&used, workdir);
	r->directory = put(&used, directory);
	r->state = put(&used, state);
	r->launch = put(&used, launch);
	r->id_file = put(&used, "");
	r->mounts = put_text(&used, mounts, mounts_size);
	r->cgroups = put_text(&used, cgroups, cgroups_size);
	return true;
}

// make_cgroup makes the cgroup's directories. The record has those that are made.
static bool make_cgroup(void)
{
	const char *path = wait_text(record->cgroups), *before = "";
	for (; record->cgroup_count < kept->cgroups.count; record->cgroup_count++) {
		if (*path && strcmp(path, before) != 0 && mkdir(path, 0755) < 0) // controllers share some
			return false;
		before = path;
		path += strlen(path) + 1;
	}
	return true;
}

// refer_to_time has a reference stand for the time: RFC 3339, in UTC.
static void refer_to_time(enum kept_reference reference, char text[40])
{
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(text, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, 40 - n, ".%09ldZ", now.tv_nsec);
	kept_refer(reference, text);
}

// refer_to_init has references stand for which process init is.
static bool refer_to_init(void)
{
	static char number[16], start[24], created[40];
	uint64_t ticks;
	bool ended;
	if (!engine_start_time(init.pid, &ticks, &ended))
		return false;
	snprintf(number, sizeof number, "%d", init.pid);
	snprintf(start, sizeof start, "%llu", (unsigned long long)ticks);
	kept_refer(KEPT_PID, number);
	kept_refer(KEPT_START, start);
	refer_to_time(KEPT_CREATED, created);
	return true;
}

// write_last writes what others are to know of a container that runs.
static bool write_last(void)
{
	static char started[40];
	refer_to_time(KEPT_STARTED, started);
	const char *launch = kept_text(kept->launch_text);
	return kept_room() && kept_write_file(wait_text(record->launch), launch) && kept_write_state(kept_text(kept->state_text));
}

// stay_open has a child in Go find a file.
static int stay_open(int fd)
{
	fcntl(fd, F_SETFD, 0);
	return fd;
}

static void hand_over(void)
{
	stay_open(record->self);
	record->page = stay_open(init.page);
	record->pipe = init.pipe;
	stay_open(init.pidfd);
	stay_open(lock);
	munmap(init.shared, init.shared_size);
}

// forget_file_limit discards the signal that write(2) has sent with EFBIG, which would end the
// process. Go reports the error.
static void forget_file_limit(void)
{
	const struct timespec none = {0};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	sigtimedwait(&set, NULL, &none);
}

// undo leaves nothing behind, so that Go finds all as it was, but for a mount namespace of
// this process's own. A container that cannot be removed is swept by Go.
static void undo(void)
{
	if (init.pid > 0) {
		kill_init(SIGKILL);
		while (waitpid(init.pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (record) {
		umount2(kept_text(kept->files), MNT_DETACH);
		remove_container();
	}
	record = NULL;
	while (held_count > 0)
		close(held[--held_count]);
	umask(umask_before);
	forget_file_limit();
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

// end_if_asked ends a launch for which a signal that asks for the end has come.
static void end_if_asked(void)
{
	sigset_t pending;
	sigpending(&pending);
	for (int sig = 1; sig < SIGRTMIN; sig++)
		if (asks_for_end(sig) && sigismember(&pending, sig) == 1)
			wait_give_up(sig);
}

// start makes the container, and returns when its init waits to become the command. A
// false start is undone by the caller, once there is a record.
static bool start(void)
{
	if (!kept_network_begin(&network) || !kept_name() || !private_mounts())
		return false;
	const char *directory = kept_text(kept->directory);
	if (kept_room())
		lock = kept_make_directory(directory);
	if (lock < 0)
		return false;
	if (!make_record(directory)) {
		rmdir(directory);
		return false;
	}
	if (!kept_write_new_state(directory) || kept_carry_out(kept->steps) < 0 || !make_cgroup() || kept_carry_out(kept->joined) < 0)
		return false;
	if (!kept_start_init(&init, program, network.namespace) || !refer_to_init() || !kept_network_plug(&network))
		return false;
	if (page_await_parked(init.shared, init.pipe) < 0 || !kept_take_terminal(&init) || kept_carry_out(kept->late) < 0)
		return false;
	page_arm(init.shared);
	bool written = write_last(); // meanwhile
	return page_await_armed(init.shared, init.pipe) == 0 && written;
}

// block_signals blocks those that are passed on: they wait for wait.c.
static void block_signals(void)
{
	sigset_t set;
	signals_passed_on(&set);
	sigprocmask(SIG_BLOCK, &set, &mask);
	if (sigismember(&mask, SIGCHLD) != 1)
		signal(SIGCHLD, SIG_DFL); // else a child that ends is not waited for
}

static bool files_open(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return false;
	return true;
}

// go_on leaves the rest to wait.c.
static _Noreturn void go_on(void)
{
	hand_over();
	kept_forget();
	end_if_asked();
	wait_go_on();
}

// After begin_waiting (wait.c).
__attribute__((constructor(102))) static void begin_kept(void)
{
	int argc;
	char **argv = program_arguments(&argc);
	if (argc < 2 || !kept_key_begin(argv, environ) || !files_open())
		return;
	program = argv[0];
	kept = kept_read();
	if (kept) {
		block_signals();
		umask_before = umask(022);
		umask(umask_before);
		if (lock_image() && kept_same(kept) && kept_refer_to_words(kept_key_words()) && start())
			go_on();
		undo();
	}
	kept_forget();
}
