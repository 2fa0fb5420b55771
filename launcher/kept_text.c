// The texts of a kept launch, with what their references stand for.
#define _GNU_SOURCE
#include "kept.h"
#include "wait.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { ROOM = 4 * KEPT_LIMIT }; // pages that are not used cost nothing

const struct kept *kept;

static const char *meanings[128];
static char **words;
static char *room; // for the file, and for texts that have references
static size_t used;
static bool full;

void *kept_take(size_t size)
{
	if (!room) {
		void *memory = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return NULL;
		room = memory;
	}
	size_t at = (used + 7) / 8 * 8;
	if (size > ROOM - at)
		return NULL;
	used = at + size;
	return room + at;
}

void kept_forget(void)
{
	if (room)
		munmap(room, ROOM);
	room = NULL;
	used = 0;
	kept = NULL;
}

void kept_refer(enum kept_reference reference, const char *text)
{
	meanings[reference] = text;
}

bool kept_room(void)
{
	return !full;
}

static void put(const char *bytes, size_t n)
{
	if (!room || n >= ROOM - used) {
		full = true;
		return;
	}
	memcpy(room + used, bytes, n);
	used += n;
}

// expand puts a text and its NUL into the room.
static void expand(const char *text)
{
	const char *end = text + strlen(text);
	for (const char *next; (next = memchr(text, REFERENCE, end - text)); ) {
		unsigned char letter = next[1];
		put(text, next - text);
		if (letter >= sizeof meanings / sizeof *meanings || !meanings[letter]) {
			full = true; // a reference to nothing
			return;
		}
		put(meanings[letter], strlen(meanings[letter]));
		text = next + 2;
	}
	put(text, end - text + 1);
}

const char *kept_text(uint32_t at)
{
	const char *text = (const char *)kept + at;
	if (!strchr(text, REFERENCE))
		return text;
	char *begin = room + used;
	expand(text);
	return full ? "" : begin;
}

const char *kept_texts(struct kept_list list, size_t *size)
{
	const char *text = (const char *)kept + list.at;
	char *begin = room + used;
	for (uint32_t i = 0; i < list.count; i++, text += strlen(text) + 1)
		expand(text);
	*size = full ? 0 : room + used - begin;
	return full ? "" : begin;
}

bool kept_refer_to_words(char **all)
{
	size_t size = 1;
	for (char **w = all; *w; w++)
		size += 6 * strlen(*w) + 3;
	char *list = kept_take(size), *end = list;
	if (!list)
		return false;
	for (char **w = all; *w; w++) {
		if (w > all)
			*end++ = ',';
		*end++ = '"';
		end = json_text(end, *w, strlen(*w));
		*end++ = '"';
	}
	*end = '\0';
	words = all;
	kept_refer(KEPT_WORDS, list);
	if (*words)
		kept_refer(KEPT_FIRST_WORD, *words);
	return true;
}

uint32_t kept_words(size_t *size)
{
	uint32_t count = 0;
	size_t before = used;
	for (; words && words[count]; count++)
		put(words[count], strlen(words[count]) + 1);
	*size = used - before;
	return count;
}

const void *kept_bytes(struct kept_list list)
{
	return (const char *)kept + list.at;
}

void kept_use(const void *bytes)
{
	size_t size;
	kept = bytes;
	kept_take(0);
	for (const uint32_t *text = &kept->adjectives; text <= &kept->workdir; text++)
		kept_text(*text);
	const struct kept_list lists[] = {kept->cgroups, kept->args, kept->env, kept->mounts};
	for (int i = 0; i < 4; i++)
		kept_texts(lists[i], &size);
	const struct kept_list steps[] = {kept->steps, kept->joined, kept->late};
	for (int i = 0; i < 3; i++) {
		const struct kept_step *s = kept_bytes(steps[i]);
		for (uint32_t j = 0; j < steps[i].count; j++, s++) {
			kept_text(s->path);
			kept_text(s->source);
			if (s->kind != KEPT_DEVICES)
				kept_texts(s->list, &size);
		}
	}
	kept_forget();
	full = false;
}
