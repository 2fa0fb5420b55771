// The user's home directory, for a command whose environment has no HOME.
#define _GNU_SOURCE
#include "plan_init.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Fields of a line of passwd(5).
enum { FIELD_USER = 2, FIELD_HOME = 5 };

// entry is what has been read of a line.
struct entry {
	int field;
	uint64_t user;
	bool number; // the user's field is not empty
	bool odd;    // it is not a number, or too large
	size_t size; // of the directory, which may be longer than home
	char home[PATH_MAX];
};

static void read_character(struct entry *e, char c)
{
	if (c == ':') {
		e->field++;
	} else if (e->field == FIELD_USER) {
		e->odd |= c < '0' || c > '9' || e->user > UINT32_MAX;
		e->number = true;
		e->user = e->user * 10 + (c - '0');
	} else if (e->field == FIELD_HOME) {
		if (e->size < sizeof e->home - 1)
			e->home[e->size] = c;
		e->size++;
	}
}

// find_entry reads lines up to the user's. It reports whether there is one.
static bool find_entry(int fd, uid_t user, struct entry *e)
{
	char buffer[4096];
	ssize_t n;
	memset(e, 0, sizeof *e);
	while ((n = read(fd, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR)) {
		for (ssize_t i = 0; i < n; i++) {
			if (buffer[i] != '\n') {
				read_character(e, buffer[i]);
				continue;
			}
			if (e->number && !e->odd && e->user == user)
				return true;
			memset(e, 0, sizeof *e);
		}
	}
	return e->number && !e->odd && e->user == user;
}

// home_of_user returns HOME=DIR for the user of this process: the directory of the first entry
// in the container's /etc/passwd, or the root directory. The file is the image's.
char *home_of_user(void)
{
	static char text[sizeof "HOME=" + PATH_MAX] = "HOME=/";
	static struct entry entry;
	int fd = open("/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	if (fd < 0)
		return text;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && find_entry(fd, getuid(), &entry) &&
	    entry.size > 0 && entry.size < sizeof entry.home)
		memcpy(text + strlen("HOME="), entry.home, entry.size + 1);
	close(fd);
	return text;
}
