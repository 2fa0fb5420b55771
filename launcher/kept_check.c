// Whether a kept launch may be carried out. The file decides what a container may do, so
// it is trusted as a cached filter is (seccomp/compile/cache.go): a regular file of root's
// that nobody else can write, in a directory of which the same is true, and undamaged.
#define _GNU_SOURCE
#include "kept.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t kept_sum(const struct kept *k)
{
	const uint64_t *word = (const uint64_t *)((const char *)k + offsetof(struct kept, key));
	const uint64_t *end = (const uint64_t *)((const char *)k + k->size);
	uint64_t sum = 14695981039346656037u;
	for (; word < end; word++) {
		sum = (sum ^ *word) * 1099511628211u;
		sum ^= sum >> 29; // or the high bits of a word would only change those of the sum
	}
	return sum;
}

// fits reports whether count of something are in the file, each at a multiple of align.
static bool fits(const struct kept *k, struct kept_list list, size_t each, size_t align)
{
	return list.at <= k->size && list.at % align == 0 && list.count <= (k->size - list.at) / each;
}

// holds reports whether a list of texts ends before the file does.
static bool holds(const struct kept *k, struct kept_list list)
{
	uint32_t at = list.at;
	for (uint32_t i = 0; i < list.count; i++) {
		if (at >= k->size)
			return false;
		at += strlen((const char *)k + at) + 1;
	}
	return true;
}

static bool texts_whole(const struct kept *k)
{
	const uint32_t texts[] = {
		k->adjectives, k->animals, k->containers, k->image, k->run_root, k->files, k->directory, k->state,
		k->new_text, k->state_text, k->launch, k->launch_text, k->command, k->workdir,
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (texts[i] >= k->size)
			return false;
	return holds(k, k->cgroups) && holds(k, k->args) && holds(k, k->env) && holds(k, k->mounts) && k->cgroups.count > 0;
}

static bool steps_whole(const struct kept *k, struct kept_list steps)
{
	if (!fits(k, steps, sizeof(struct kept_step), 8))
		return false;
	const struct kept_step *s = (const struct kept_step *)((const char *)k + steps.at);
	for (uint32_t i = 0; i < steps.count; i++, s++) {
		if (s->kind == 0 || s->kind >= KEPT_KINDS || s->path >= k->size || s->source >= k->size)
			return false;
		if (s->kind == KEPT_DEVICES ? !fits(k, s->list, 1, 8) : !holds(k, s->list))
			return false;
		if ((s->kind == KEPT_OVERLAY && s->list.count < 3) || (s->kind == KEPT_BIND && s->list.count != 1))
			return false;
	}
	return true;
}

static bool stamps_whole(const struct kept *k)
{
	if (!fits(k, k->stamps, sizeof(struct kept_stamp), 8))
		return false;
	const struct kept_stamp *s = (const struct kept_stamp *)((const char *)k + k->stamps.at);
	for (uint32_t i = 0; i < k->stamps.count; i++)
		if (s[i].path >= k->size)
			return false;
	return true;
}

static bool patches_whole(const struct kept *k)
{
	if (!fits(k, k->plan, 1, 8) || !fits(k, k->patches, sizeof(struct kept_patch), 8))
		return false;
	const struct kept_patch *p = (const struct kept_patch *)((const char *)k + k->patches.at);
	for (uint32_t i = 0; i < k->patches.count; i++)
		if (p[i].text >= k->size || p[i].at > k->plan.count || p[i].room > k->plan.count - p[i].at)
			return false;
	return true;
}

bool kept_whole(const void *bytes, size_t size)
{
	const struct kept *k = bytes;
	if (size < sizeof *k || size > KEPT_LIMIT || size % 8 != 0 || memcmp(k->magic, KEPT_MAGIC, sizeof k->magic) != 0)
		return false;
	if (k->version != KEPT_VERSION || k->size != size || ((const char *)bytes)[size - 1] != '\0' || k->sum != kept_sum(k))
		return false;
	if (!fits(k, k->key, 1, 1) || !fits(k, k->filter, 1, 8) || k->filter.count % 8 != 0)
		return false;
	return kept_bridge_whole(&k->bridge) && texts_whole(k) && stamps_whole(k) && steps_whole(k, k->steps) && steps_whole(k, k->joined) && steps_whole(k, k->late) && patches_whole(k);
}

static int64_t ns(struct timespec t)
{
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int kept_stamp_take(const char *path, struct kept_stamp *s, uint32_t kind)
{
	struct stat st;
	*s = (struct kept_stamp){.path = s->path, .kind = kind};
	if (stat(path, &st) < 0) {
		s->kind = STAMP_ABSENT;
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	}
	s->device = st.st_dev;
	s->inode = st.st_ino;
	s->mode = st.st_mode;
	s->user = st.st_uid;
	if (kind == STAMP_WHOLE) {
		s->size = st.st_size;
		s->modified = ns(st.st_mtim);
		s->changed = ns(st.st_ctim);
	}
	return 0;
}

bool kept_same(const struct kept *k)
{
	const struct kept_stamp *s = kept_bytes(k->stamps);
	for (uint32_t i = 0; i < k->stamps.count; i++) {
		struct kept_stamp now = {.path = s[i].path};
		if (kept_stamp_take(kept_text(s[i].path), &now, s[i].kind == STAMP_ABSENT ? STAMP_WHOLE : s[i].kind) < 0 ||
		    memcmp(&now, &s[i], sizeof now) != 0)
			return false;
	}
	return true;
}

static bool trusted(int fd, mode_t kind, struct stat *st)
{
	return fstat(fd, st) == 0 && (st->st_mode & S_IFMT) == kind && st->st_uid == geteuid() && !(st->st_mode & 022);
}

// open_directory opens the directory of all launches, if it can be trusted.
static int open_directory(void)
{
	struct stat st;
	int root = open(kept_root(), O_PATH | O_DIRECTORY | O_CLOEXEC), dir = -1;
	if (root >= 0 && trusted(root, S_IFDIR, &st))
		dir = openat(root, KEPT_DIRECTORY, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	close(root);
	if (dir >= 0 && trusted(dir, S_IFDIR, &st))
		return dir;
	close(dir);
	return -1;
}

// open_file opens the file of this launch. Where its words begin only the file can say: there
// is one for the right number of arguments, and none for others.
static int open_file(struct stat *st)
{
	int dir = open_directory(), fd = -1;
	for (size_t n = 2; dir >= 0 && fd < 0 && kept_key_split(n); n++) {
		char name[17];
		kept_key_file(name);
		fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	}
	close(dir);
	if (fd >= 0 && (!trusted(fd, S_IFREG, st) || st->st_size > KEPT_LIMIT)) {
		close(fd);
		return -1;
	}
	return fd;
}

const struct kept *kept_read(void)
{
	struct stat st;
	int fd = open_file(&st);
	if (fd < 0)
		return NULL;
	// A copy: what is checked is what is used.
	size_t size = st.st_size, n = 0;
	char *bytes = kept_take(size + 1);
	for (ssize_t more = 1; bytes && more > 0; n += more > 0 ? more : 0)
		more = read(fd, bytes + n, size + 1 - n);
	close(fd);
	if (!bytes || n != size || !kept_whole(bytes, size))
		return NULL;
	const struct kept *k = (const struct kept *)bytes;
	const void *key = kept_key_end(&n);
	if (!key || k->key.count != n || memcmp(bytes + k->key.at, key, n) != 0)
		return NULL;
	return k;
}
