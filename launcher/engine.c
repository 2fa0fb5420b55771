#define _GNU_SOURCE
#include "arm/libc.h"
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// is_call reports whether the process was started as an OCI runtime, and returns the
// index of what follows the name (oci.Called).
static int is_call(int argc, char **argv)
{
	if (argc < 2)
		return 0;
	const char *name = strrchr(argv[0], '/');
	if (strcmp(name ? name + 1 : argv[0], "minirun-runtime") == 0)
		return 1;
	return strcmp(argv[1], "oci") == 0 ? 2 : 0;
}

// takes_value reports whether a word is this flag, and returns its value: what follows =,
// or the next word.
static bool takes_value(const char *flag, char ***word, const char **value)
{
	size_t length = strlen(flag);
	const char *text = **word;
	if (strncmp(text, flag, length) != 0 || (text[length] && text[length] != '='))
		return false;
	if (text[length] == '=')
		*value = text + length + 1;
	else
		*value = *++*word;
	return true;
}

// index_of returns where a text is in a list that ends with NULL, or -1.
static int index_of(const char *text, const char *const *list)
{
	for (int i = 0; text && list[i]; i++)
		if (strcmp(text, list[i]) == 0)
			return i;
	return -1;
}

static bool is_one_of(const char *text, const char *const *list)
{
	return index_of(text, list) >= 0;
}

static const char *const FORMATS[] = {"json", "text", NULL}, *const MANAGERS[] = {"cgroupfs", "systemd", "disabled", NULL};

// take_global reads a flag before the verb. Who makes cgroups does not matter any more.
static bool take_global(char ***word, struct engine_call *call)
{
	const char *value = NULL;
	if (strcmp(**word, "--systemd-cgroup") == 0)
		return true;
	if (takes_value("--root", word, &value))
		return !call->root && (call->root = value);
	if (takes_value("--log", word, &value))
		return !call->log && (call->log = value) && *value;
	if (takes_value("--log-format", word, &value))
		return is_one_of(value, FORMATS);
	if (takes_value("--cgroup-manager", word, &value))
		return is_one_of(value, MANAGERS);
	return takes_value("--rootless", word, &value) && value;
}

// is_id reports whether a container may have this name (isID), and no flag.
static bool is_id(const char *text)
{
	static const char usual[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-";
	size_t length = strlen(text);
	return length > 0 && length <= NAME_MAX && text[0] != '.' && text[0] != '-' && strspn(text, usual) == length;
}

// take_verb reads what follows the global flags.
static bool take_verb(char **word, struct engine_call *call)
{
	static const char *const VERBS[] = {"start", "state", "kill", "delete", NULL}, *const FORCE[] = {"-f", "--force", NULL}, *const ALL[] = {"-a", "--all", NULL};
	int verb = index_of(*word++, VERBS);
	if (verb < 0)
		return false;
	call->verb = verb;
	if (verb == ENGINE_DELETE && is_one_of(*word, FORCE)) {
		call->force = true;
		word++;
	} else if (verb == ENGINE_KILL && is_one_of(*word, ALL)) { // of a container that has ended, which is Go's
		word++;
	}
	if (!*word || !is_id(*word))
		return false;
	call->id = *word++;
	if (verb == ENGINE_KILL && *word)
		call->signal = *word++;
	return !*word;
}

bool engine_parse(int argc, char **argv, struct engine_call *call)
{
	*call = (struct engine_call){0};
	int first = is_call(argc, argv);
	if (first == 0)
		return false;
	char **word = argv + first;
	for (; *word && (*word)[0] == '-'; word++)
		if (!take_global(&word, call))
			return false;
	return call->root && call->root[0] == '/' && take_verb(word, call);
}

// read_file reads a file of at most size - 1 bytes, and ends them with a NUL. It returns
// their number, or -1.
static ssize_t read_file(int dir, const char *path, char *text, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0, got = fd < 0 ? -1 : 0;
	while (got >= 0 && (size_t)got < size && (n = read(fd, text + got, size - got)) > 0)
		got += n;
	if (fd >= 0)
		close(fd);
	if (n < 0 || got < 0 || (size_t)got == size)
		return -1;
	text[got] = '\0';
	return got;
}

static bool ends_inside(const struct engine_record *r, uint32_t offset)
{
	return offset >= sizeof *r && offset < r->size;
}

const char *engine_text(const struct engine_record *r, uint32_t offset)
{
	return (const char *)r + offset;
}

bool engine_whole(const void *bytes, size_t size)
{
	const struct engine_record *r = bytes;
	if (size <= sizeof *r || memcmp(r->magic, ENGINE_MAGIC, sizeof r->magic) != 0 || r->version != ENGINE_VERSION ||
	    r->size != size || ((const char *)bytes)[size - 1] != '\0' || r->pid <= 0 || r->kept > INT16_MAX)
		return false;
	const uint32_t texts[] = {r->boot, r->state, r->created, r->running, r->shows_created, r->shows_running, r->shows_stopped, r->libcontainer, r->fifo, r->freezer, r->thawed, r->cgroups};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (!ends_inside(r, texts[i]))
			return false;
	uint32_t at = r->cgroups;
	for (uint32_t i = 0; i < r->cgroup_count; i++, at += strlen(engine_text(r, at)) + 1)
		if (!ends_inside(r, at))
			return false;
	return true;
}

// Whoever can write the directory decides which processes are killed, and that is root.
const struct engine_record *engine_read(int dir)
{
	static _Alignas(struct engine_record) char bytes[ENGINE_LIMIT];
	struct stat st;
	if (fstat(dir, &st) < 0 || st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		return NULL;
	ssize_t n = read_file(dir, ENGINE_FILE, bytes, sizeof bytes);
	return n >= 0 && engine_whole(bytes, n) ? (const struct engine_record *)bytes : NULL;
}

bool engine_has(const char *path, const char *text)
{
	static char found[ENGINE_LIMIT];
	ssize_t n = read_file(AT_FDCWD, path, found, sizeof found);
	return n >= 0 && (size_t)n == strlen(text) && memcmp(found, text, n) == 0;
}

bool engine_start_time(int32_t pid, uint64_t *ticks, bool *ended)
{
	char path[32], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (read_file(AT_FDCWD, path, text, sizeof text) < 0)
		return false;
	char *field = strrchr(text, ')'); // the second, in which there may be spaces: proc_pid_stat(5)
	for (int i = 2; field && i < 22; i++) {
		field = strchr(field + 1, ' ');
		if (field && i == 2)
			*ended = field[1] == 'Z' || field[1] == 'X';
	}
	if (field)
		*ticks = strtoull(field, NULL, 10);
	return field != NULL;
}

enum engine_life engine_life(const struct engine_record *r)
{
	const char *boot = engine_text(r, r->boot);
	char text[64];
	ssize_t n = read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, sizeof text);
	if (n < 1 || (size_t)n - 1 != strlen(boot) || memcmp(text, boot, n - 1) != 0)
		return ENGINE_UNKNOWN;
	uint64_t ticks = 0;
	bool ended = false;
	errno = 0; // only that there is no such process means that it has ended
	if (!engine_start_time(r->pid, &ticks, &ended))
		return errno == ENOENT || errno == ESRCH ? ENGINE_ENDED : ENGINE_UNKNOWN;
	return ended || ticks != r->started ? ENGINE_ENDED : ENGINE_LIVES;
}

bool engine_thawed(const struct engine_record *r)
{
	const char *freezer = engine_text(r, r->freezer);
	return !*freezer || engine_has(freezer, engine_text(r, r->thawed));
}

// The process is looked at after it has been opened, so that it is the one that was meant.
int engine_open(const struct engine_record *r)
{
	int pidfd = syscall(SYS_pidfd_open, r->pid, 0);
	if (pidfd >= 0 && engine_life(r) != ENGINE_LIVES) {
		close(pidfd);
		return -1;
	}
	return pidfd;
}

static int open_locked(int parent, const char *path, int how)
{
	int dir = openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0 && how && flock(dir, how) < 0) {
		close(dir);
		return -1;
	}
	return dir;
}

static bool carry_out(const struct engine_call *call)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof path, "%s/containers", call->root);
	int parent = n < (int)sizeof path ? open_locked(AT_FDCWD, path, call->verb == ENGINE_DELETE ? LOCK_EX : 0) : -1;
	if (parent < 0)
		return false;
	static const int LOCKS[] = {[ENGINE_START] = LOCK_EX, [ENGINE_STATE] = 0, [ENGINE_KILL] = 0, [ENGINE_DELETE] = LOCK_EX | LOCK_NB};
	int dir = open_locked(parent, call->id, LOCKS[call->verb]);
	bool done = dir < 0 && errno == ENOENT && call->force;
	if (dir >= 0)
		switch (call->verb) {
		case ENGINE_START:
			done = engine_start(dir);
			break;
		case ENGINE_STATE:
			done = engine_state(dir);
			break;
		case ENGINE_KILL:
			done = engine_kill(dir, engine_signal(call->signal));
			break;
		case ENGINE_DELETE:
			done = engine_delete(parent, dir, call->id);
			break;
		}
	if (dir >= 0)
		close(dir); // and with it the lock, which Go takes again
	close(parent);
	return done;
}

// Go makes the log as well when there is nothing to write.
static bool touch_log(const char *log)
{
	int fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
	if (fd >= 0)
		close(fd);
	return !log || fd >= 0;
}

// After the constructors by which the process may become something else than a command line.
__attribute__((constructor(102))) static void begin_engine(void)
{
	int argc;
	char **argv = program_arguments(&argc);
	struct engine_call call;
	if (engine_parse(argc, argv, &call) && geteuid() == 0 && touch_log(call.log) && carry_out(&call))
		_exit(0);
}
