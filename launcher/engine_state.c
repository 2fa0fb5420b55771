#include "engine.h"

#include <string.h>
#include <unistd.h>

// engine_state prints what Go would print: create has had it made by Go.
bool engine_state(int dir)
{
	const struct engine_record *r = engine_read(dir);
	enum engine_life life = r ? engine_life(r) : ENGINE_UNKNOWN;
	const char *state = life == ENGINE_UNKNOWN ? NULL : engine_text(r, r->state), *text;
	if (life == ENGINE_ENDED)
		text = engine_text(r, r->shows_stopped);
	else if (life == ENGINE_UNKNOWN || !engine_thawed(r))
		return false;
	else if (engine_has(state, engine_text(r, r->created)))
		text = engine_text(r, r->shows_created);
	else if (engine_has(state, engine_text(r, r->running)))
		text = engine_text(r, r->shows_running);
	else
		return false;
	size_t length = strlen(text);
	return length > 0 && write(STDOUT_FILENO, text, length) == (ssize_t)length;
}
