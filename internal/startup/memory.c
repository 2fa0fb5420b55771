// The program's own memory. A start touches some 240 places of its code and constants, and the kernel
// would map 16 pages around each; and it writes to every third page of its variables, many of which
// it reads first, so that they fault twice.
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ // Linux 5.14
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

extern const char __executable_start[], __init_array_start[], __bss_start[]; // ld(1): code, data, variables that are zero

enum {
	ZERO = 1 << 20,      // of the last; what follows are buffers
	CODE_PAGES = 1 << 14 // that a program has at most
};

// map_present maps the pages of a file that are in memory. To read the others would take longer than it
// saves: many are never needed.
static void map_present(uintptr_t from, size_t pages, size_t size)
{
	unsigned char present[CODE_PAGES];
	if (pages > sizeof present || mincore((void *)from, pages * size, present) < 0)
		return;
	for (size_t i = 0, begin; i < pages; i++) {
		for (begin = i; i < pages && present[i] & 1; i++)
			;
		if (i > begin)
			madvise((void *)(from + begin * size), (i - begin) * size, MADV_POPULATE_READ);
	}
}

// After all constructors with a priority: processes whose work is done in C touch little. Where a call
// fails, page faults do its work.
__attribute__((constructor)) static void map_program(void)
{
	uintptr_t page = sysconf(_SC_PAGESIZE), code = (uintptr_t)__executable_start & -page;
	uintptr_t data = (uintptr_t)__init_array_start & -page, zero = (uintptr_t)__bss_start & -page;
	map_present(code, (data - code) / page, page);
	madvise((void *)data, zero + ZERO - data, MADV_POPULATE_WRITE);
}
