// What a container that is launched as it was kept has of its own, for others to see: its
// name, its directory and its state (container.go, state.go).
#define _GNU_SOURCE
#include "kept.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// chosen is what is random in a launch.
static struct {
	uint8_t id[32];
	uint64_t adjective, animal, first;
} chosen;

// word returns the word of a list that a random number stands for, and its length.
static const char *word(const char *list, uint64_t number, int *length)
{
	uint64_t words = 1;
	for (const char *c = list; *c; c++)
		words += *c == ' ';
	for (number %= words; number > 0; number--)
		list = strchr(list, ' ') + 1;
	*length = strcspn(list, " ");
	return list;
}

bool kept_name(void)
{
	static char id[65], short_id[13], name[256];
	int first, second;
	if (getrandom(&chosen, sizeof chosen, 0) != sizeof chosen)
		return false;
	for (size_t i = 0; i < sizeof chosen.id; i++)
		snprintf(id + 2 * i, 3, "%02x", chosen.id[i]);
	memcpy(short_id, id, 12);
	const char *adjective = word(kept_text(kept->adjectives), chosen.adjective, &first);
	const char *animal = word(kept_text(kept->animals), chosen.animal, &second);
	int n = snprintf(name, sizeof name, "%.*s%s%.*s", first, adjective, second ? "_" : "", second, animal);
	kept_refer(KEPT_ID, id);
	kept_refer(KEPT_SHORT_ID, short_id);
	kept_refer(KEPT_NAME, name);
	return n < (int)sizeof name;
}

enum { SWEPT = 16 }; // as many as Go looks at (sweep.go)

// is_dead reports whether a container's launcher has left it behind. One whose state is in
// its directory may stay, and is left to those that list containers.
static bool is_dead(int parent, const char *name)
{
	char target[8];
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return errno != ENOENT;
	bool dead = flock(dir, LOCK_EX | LOCK_NB) == 0;
	if (dead && name[0] != '.' && readlinkat(dir, "state.json", target, sizeof target) < 0 && errno == EINVAL)
		dead = false;
	close(dir);
	return dead;
}

// dead_ones looks at some containers, from a random one on. A directory of more than the
// buffer holds is too large to look at all of it.
static bool dead_ones(int parent)
{
	enum { SIZE = 1 << 16 };
	char *buffer = kept_take(SIZE);
	ssize_t size = buffer ? syscall(SYS_getdents64, parent, buffer, SIZE) : -1;
	uint64_t count = 0;
	struct entry { uint64_t inode; int64_t offset; uint16_t length; uint8_t type; char name[]; } *e; // getdents64(2)
	for (ssize_t at = 0; at < size; at += e->length, count++)
		e = (struct entry *)(buffer + at);
	if (size < 0)
		return true;
	uint64_t first = count > SWEPT + 2 ? chosen.first % (count - SWEPT - 1) : 0, i = 0;
	for (ssize_t at = 0; at < size; at += e->length, i++) {
		e = (struct entry *)(buffer + at);
		bool own = strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0;
		if (i >= first && i < first + SWEPT + 2 && !own && is_dead(parent, e->name))
			return true;
	}
	return false;
}

bool kept_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	size_t size = strlen(text);
	bool written = write(fd, text, size) == (ssize_t)size;
	close(fd);
	return written;
}

// Others may come and go only under the lock of the directory above.
int kept_make_directory(const char *directory)
{
	int lock = -1, parent = open(kept_text(kept->containers), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return -1;
	if (flock(parent, LOCK_EX) == 0 && !dead_ones(parent) && mkdir(directory, 0700) == 0) {
		lock = kept_hold(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0) {
			rmdir(directory);
			lock = -1;
		}
	}
	close(parent);
	return lock;
}

bool kept_write_state(const char *text)
{
	static char temporary[4096];
	const char *state = kept_text(kept->state);
	int n = snprintf(temporary, sizeof temporary, "%s.new", state);
	if (n >= (int)sizeof temporary || !kept_room())
		return false;
	if (kept_write_file(temporary, text) && rename(temporary, state) == 0)
		return true;
	unlink(temporary);
	return false;
}

bool kept_write_new_state(const char *directory)
{
	char link[4096];
	int n = snprintf(link, sizeof link, "%s/state.json", directory);
	return n < (int)sizeof link && symlink(kept_text(kept->state), link) == 0 && kept_write_state(kept_text(kept->new_text));
}
