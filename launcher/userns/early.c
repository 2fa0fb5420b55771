// A process that enters its user namespace from Go has to start the program a second time
// (userns.go). Most command lines show plainly that they are launches, and that nothing has
// to be done outside first: then the process enters the namespace here, the first time.
// Every other case is left to Go, which reads the whole command line, asks other sources
// for IDs, and says what is missing.
#define _GNU_SOURCE
#include "enter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

// OTHER_VERBS are all verbs except run: they stay outside, or decide in Go.
static const char *const OTHER_VERBS[] = {
	"__complete", "attach", "bootstrap", "completion", "cp", "create", "diff", "doctor", "du", "exec", "help",
	"history", "images", "import", "inspect", "kill", "load", "logs", "oci", "pause", "port", "prune", "ps",
	"pull", "push", "rename", "restart", "rm", "rmi", "save", "seccomp", "start", "stats", "stop", "tag", "top",
	"unpause", "update", "verify", "version", "wait", NULL,
};

// OTHER_FLAGS are flags with which a launch has something to do outside: to ask for a
// scope, which limits need, or to look for containers in another directory.
static const char *const OTHER_FLAGS[] = {
	"--cgroup", "--cpu", "--help", "--memory", "--pids-limit", "--root", "--version", NULL,
};

static bool starts_with(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

// joins_another reports whether a word may name the network of another container, whose
// user namespace is joined too.
static bool joins_another(const char *word)
{
	return starts_with(word, "container:") || strstr(word, "=container:") != NULL;
}

// is_other reports whether a word, where a verb or a flag may be, asks for something else.
static bool is_other(const char *word, bool first)
{
	if (word[0] == '-' && word[1] != '-')
		return strpbrk(word, "mc") != NULL; // -m and -c, also in a bundle
	for (int i = 0; word[0] == '-' && OTHER_FLAGS[i]; i++)
		if (starts_with(word, OTHER_FLAGS[i]))
			return true;
	for (int i = 0; first && OTHER_VERBS[i]; i++)
		if (strcmp(word, OTHER_VERBS[i]) == 0)
			return true;
	return joins_another(word);
}

// The flags of a launch end at the image. A word before it that is no flag is the value of
// a flag. So of two such words in a row the second is at or after the image, and nothing
// that follows is a flag of the launch.
bool userns_plain_launch(int argc, char **argv)
{
	const char *name = argc > 1 ? strrchr(argv[0], '/') : NULL;
	if (argc < 2 || strcmp(name ? name + 1 : argv[0], "minirun") != 0) // it may be a test
		return false;
	const char *network = getenv("MINIRUN_NETWORK");
	if (network && joins_another(network))
		return false;
	bool first = true;
	for (int i = 1, words = 0; i < argc && words < 2 && strcmp(argv[i], "--") != 0; i++) {
		if (is_other(argv[i], first))
			return false;
		words = argv[i][0] == '-' ? 0 : words + 1;
		if (words == 1 && first) {
			first = false;
			words = strcmp(argv[i], "run") != 0;
		}
	}
	return true;
}

// take_number reads a decimal number that ends at end, and returns what follows, or NULL.
static const char *take_number(const char *text, char end, uint64_t *number)
{
	char *rest;
	if (text[0] < '0' || text[0] > '9')
		return NULL;
	errno = 0;
	*number = strtoull(text, &rest, 10);
	return errno == 0 && *number <= UINT32_MAX && *rest == end ? rest + 1 : NULL;
}

// user_name finds a user's name in a file like /etc/passwd.
static bool user_name(const char *passwd, uid_t uid, char *name, size_t size)
{
	FILE *file = fopen(passwd, "re");
	char *line = NULL;
	size_t room = 0;
	bool found = false;
	while (file && !found && getline(&line, &room, file) > 0) {
		char *colon = strchr(line, ':'), *second = colon ? strchr(colon + 1, ':') : NULL;
		uint64_t number;
		if (second && take_number(second + 1, ':', &number) && number == uid) {
			*colon = '\0';
			found = line[0] && strlen(line) < size && !strchr("#+- \t", line[0]);
			strncpy(name, line, size);
			break;
		}
	}
	free(line);
	if (file)
		fclose(file);
	return found;
}

// add_ranges adds the ranges that a file like /etc/subuid gives a user, by name or number,
// to a command: after own, which is 0 inside.
static bool add_ranges(const char *path, const char *name, uid_t uid, char *command, size_t size)
{
	FILE *file = fopen(path, "re");
	char *line = NULL, number[16];
	size_t room = 0;
	uint64_t next = 1, start, count;
	bool whole = file != NULL;
	snprintf(number, sizeof number, "%u", uid);
	while (whole && getline(&line, &room, file) > 0) {
		char *colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = '\0';
		if (strcmp(line, name) != 0 && strcmp(line, number) != 0)
			continue;
		const char *rest = take_number(colon + 1, ':', &start);
		whole = rest && take_number(rest, '\n', &count) && count > 0;
		size_t length = strlen(command);
		if (whole)
			whole = (size_t)snprintf(command + length, size - length, "\n%" PRIu64 "\n%" PRIu64 "\n%" PRIu64, next, start, count) < size - length;
		next += count;
	}
	free(line);
	if (file)
		fclose(file);
	return whole && next > 1;
}

// find_tool looks for a program as execvp(3) does, in absolute directories.
static bool find_tool(const char *name, char *path, size_t size)
{
	const char *directories = getenv("PATH");
	while (directories && *directories) {
		size_t length = strcspn(directories, ":");
		if (directories[0] != '/' || memchr(directories, '\n', length) ||
		    (size_t)snprintf(path, size, "%.*s/%s", (int)length, directories, name) >= size)
			return false;
		if (access(path, X_OK) == 0)
			return true;
		directories += length + (directories[length] == ':');
	}
	return false;
}

bool userns_find_ids(const char *passwd, const char *subid, const char *tool, uid_t uid, uid_t own, char *command, size_t size)
{
	char name[256];
	if (!user_name(passwd, uid, name, sizeof name) || !find_tool(tool, command, size))
		return false;
	size_t length = strlen(command);
	if ((size_t)snprintf(command + length, size - length, "\n0\n%u\n1", own) >= size - length)
		return false;
	return add_ranges(subid, name, uid, command, size);
}

// is_left reports whether a container's directory has no launcher, and does not say that
// the container has ended: something of it may still run, which is killed from outside.
static bool is_left(int parent, const char *name)
{
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno != ENOENT;
	if (flock(dir, LOCK_EX | LOCK_NB) < 0) {
		bool locked = errno == EWOULDBLOCK;
		close(dir);
		return !locked;
	}
	static char text[1 << 16];
	int file = openat(dir, "state.json", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
	text[n < 0 ? 0 : n] = '\0';
	if (file >= 0)
		close(file);
	close(dir);
	return !strstr(text, "\"finished\":\""); // no string of JSON contains that: its quotes have a backslash
}

// is_anything_left looks at the containers of the store where they are without --root.
static bool is_anything_left(void)
{
	char path[PATH_MAX];
	const char *root = getenv("MINIRUN_ROOT"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	int n = -1;
	if (root && *root)
		n = snprintf(path, sizeof path, "%s/containers", root);
	else if (data && *data == '/')
		n = snprintf(path, sizeof path, "%s/minirun/containers", data);
	else if (home && *home)
		n = snprintf(path, sizeof path, "%s/.local/share/minirun/containers", home);
	if (n < 0 || (size_t)n >= sizeof path)
		return true;
	DIR *containers = opendir(path);
	if (!containers)
		return errno != ENOENT;
	// Without the lock of the directory above nobody may touch a container's (container.go).
	bool left = flock(dirfd(containers), LOCK_EX) < 0;
	for (struct dirent *entry; !left && (entry = readdir(containers));)
		left = entry->d_name[0] != '.' && is_left(dirfd(containers), entry->d_name);
	closedir(containers);
	return left;
}

void userns_enter_early(int argc, char **argv)
{
	static char uids[1 << 14], gids[sizeof uids];
	uid_t uid = geteuid();
	if (!userns_plain_launch(argc, argv) || is_anything_left() ||
	    !userns_find_ids("/etc/passwd", "/etc/subuid", "newuidmap", uid, uid, uids, sizeof uids) ||
	    !userns_find_ids("/etc/passwd", "/etc/subgid", "newgidmap", uid, getegid(), gids, sizeof gids))
		return;
	entered.early = true;
	userns_begin(uids, gids);
}
