// The launcher's side of the page, for a launcher that goes on in C: what Page.Exec and
// Page.WaitExec do in Go.
#define _GNU_SOURCE
#include "page.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_in(const struct init_page *p, enum page_state state)
{
	return __atomic_load_n(&p->state, __ATOMIC_SEQ_CST) == state;
}

static void wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void page_run(void *mem)
{
	struct init_page *p = mem;
	__atomic_store_n(&p->quiet, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&p->state, PAGE_RUN, __ATOMIC_SEQ_CST);
	wake(&p->quiet);
	wake(&p->asleep);
}

bool page_failed(const void *p)
{
	return is_in(p, PAGE_FAILED);
}

bool page_executes(const void *p)
{
	return is_in(p, PAGE_EXEC);
}
