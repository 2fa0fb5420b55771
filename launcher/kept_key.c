// The key of a kept launch: the environment, the working directory, the arguments up to the
// image, whether words follow it, and what the launcher asks the kernel for. Two launches with
// the same key, whose files have the same stamps, do the same, with the words of their own.
#define _GNU_SOURCE
#include "kept.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum {
	KEY_LIMIT = 1 << 16,
	ARGUMENTS = 64, // of a launch without its words; one with more is Go's
};

static char key[KEY_LIMIT];
static size_t size;   // of the key so far
static size_t shared; // of it, what does not depend on where the words begin; 0: there is no key
static size_t own;    // of it, what is not the host's
static uint64_t sum;  // of the shared part
static char **arguments;
static size_t count; // of the arguments, without the words
static bool complete, failed;
static int64_t began;
static char root[256];

// add adds a part, with its length in front, so that no two keys run together.
static void add(const void *part, uint32_t n)
{
	if (n > KEY_LIMIT - sizeof n || size > KEY_LIMIT - sizeof n - n) {
		failed = true;
		return;
	}
	memcpy(key + size, &n, sizeof n);
	memcpy(key + size + sizeof n, part, n);
	size += sizeof n + n;
}

static void add_number(uint64_t number)
{
	add(&number, sizeof number);
}

static bool is_variable(const char *text, const char *name)
{
	size_t n = strlen(name);
	return strncmp(text, name, n) == 0 && text[n] == '=';
}

// A shell sets these for each command. No launch that is kept depends on them.
static bool is_shells(const char *text)
{
	return is_variable(text, "_") || is_variable(text, "OLDPWD") || is_variable(text, "SHLVL");
}

// is_roles reports whether a variable has this process in another role (main.go).
static bool is_roles(const char *text)
{
	return strncmp(text, "_MINIRUN_", 9) == 0 || strncmp(text, "_LIBCONTAINER_", 14) == 0;
}

static bool find_root(const char *text)
{
	if (!text || !*text)
		text = KEPT_ROOT;
	int n = snprintf(root, sizeof root, "%s", text);
	return *root == '/' && n < (int)sizeof root;
}

// add_to_sum continues a sum, FNV-1a, with a part of the key.
static uint64_t add_to_sum(uint64_t before, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		before = (before ^ (unsigned char)key[i]) * 1099511628211u;
	return before;
}

bool kept_key_begin(char **all, char **variables)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	began = now.tv_sec * 1000000000LL + now.tv_nsec;
	if (getauxval(AT_SECURE) || getuid() != 0 || geteuid() != 0 || !find_root(getenv(KEPT_ROOT_VARIABLE)))
		return false;
	for (char **v = variables; *v; v++)
		if (is_roles(*v))
			return false;
	char directory[4096];
	if (!*all || syscall(SYS_getcwd, directory, sizeof directory) < 0 || *directory != '/')
		return false;
	add_number(KEPT_VERSION);
	add(directory, strlen(directory));
	for (char **v = variables; *v; v++)
		if (!is_shells(*v))
			add(*v, strlen(*v));
	add_number(0);
	arguments = all;
	shared = failed ? 0 : size;
	sum = add_to_sum(14695981039346656037u, 0, shared);
	return shared > 0;
}

bool kept_key_split(size_t n)
{
	if (shared == 0 || n > ARGUMENTS)
		return false;
	size = shared;
	complete = failed = false;
	for (count = 0; count < n && arguments[count]; count++)
		add(arguments[count], strlen(arguments[count]));
	add_number(arguments[count] != NULL);
	own = size;
	return count == n && !failed;
}

char **kept_key_words(void)
{
	return arguments + count;
}

int64_t kept_key_time(void)
{
	return began;
}

const char *kept_root(void)
{
	return root;
}

// The name is of the process's own part of the key; the whole key is in the file.
void kept_key_file(char name[17])
{
	snprintf(name, 17, "%016llx", (unsigned long long)add_to_sum(sum, shared, own));
}

// add_file adds what is in a file of the kernel's.
static void add_file(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
	if (fd >= 0)
		close(fd);
	if (n < 0 || n == sizeof text)
		failed = true;
	else
		add(text, n);
}

static void add_stat(const char *path, bool times)
{
	struct kept_stamp s;
	if (kept_stamp_take(path, &s, times ? STAMP_WHOLE : STAMP_IDENTITY) < 0 || s.kind == STAMP_ABSENT)
		failed = true;
	else
		add(&s.device, sizeof s - offsetof(struct kept_stamp, device));
}

static void add_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint64_t bounding = 0;
	if (syscall(SYS_capget, &head, data) < 0)
		failed = true;
	add(data, sizeof data);
	for (int c = 0, has; c < 64 && (has = prctl(PR_CAPBSET_READ, c)) >= 0; c++)
		bounding |= (uint64_t)has << c;
	add_number(bounding);
	add_number(prctl(PR_GET_SECUREBITS));
	add_number(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	add_number(prctl(PR_GET_SECCOMP));
}

static void add_ids(void)
{
	gid_t groups[256];
	int n = getgroups(256, groups);
	add_number(getgid());
	add_number(getegid());
	if (n < 0)
		failed = true;
	else
		add(groups, n * sizeof *groups);
}

// add_apparmor adds a number that changes whenever a profile is loaded or removed.
static void add_apparmor(void)
{
	struct stat st;
	if (stat("/sys/kernel/security/apparmor", &st) == 0)
		add_file("/sys/kernel/security/apparmor/revision");
	else if (errno == ENOENT)
		add_number(0);
	else
		failed = true;
}

static void add_host(void)
{
	struct utsname name;
	memset(&name, 0, sizeof name);
	if (uname(&name) < 0)
		failed = true;
	add(&name, sizeof name);
	add_file("/proc/sys/kernel/random/boot_id");
	add_file("/proc/self/cgroup");
	add_stat("/proc/self/exe", true);
	add_stat("/", false);
	add_stat("/proc/self/ns/mnt", false);
	add_stat("/proc/self/ns/user", false);
	add_stat("/proc/self/ns/pid", false);
	add_stat("/proc/self/ns/cgroup", false);
	add_stat("/proc/self/ns/net", false);
	add_stat("/proc/self/ns/uts", false);
	add_stat("/proc/self/ns/ipc", false);
	add_capabilities();
	add_ids();
	add_number(personality(0xffffffff));
	add_apparmor();
}

const void *kept_key_end(size_t *n)
{
	if (own == 0 || failed)
		return NULL;
	if (!complete)
		add_host();
	complete = true;
	*n = size;
	return failed ? NULL : key;
}
