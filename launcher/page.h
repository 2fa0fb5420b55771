// The page that the launcher and a container's init share while it starts.
// page.go mirrors the offsets.
#ifndef MINIRUN_PAGE_H
#define MINIRUN_PAGE_H

#include <linux/filter.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

enum page_state {
	PAGE_NEW = 0,    // there is no arming thread yet
	PAGE_READY = 1,  // the thread waits
	PAGE_GO = 2,     // the launcher wants the program installed
	PAGE_DONE = 3,   // every thread of init is under the filter
	PAGE_FAILED = 4, // error says why; nothing was installed
};

struct init_page {
	_Atomic uint32_t state;
	int32_t error;    // errno of the step that failed
	int32_t listener; // reserved for SECCOMP_FILTER_FLAG_NEW_LISTENER
	uint32_t flags;   // SECCOMP_FILTER_FLAG_*
	uint32_t length;  // instructions in program
	uint32_t cgroups; // folders in names; the first is of cgroup v2, and may be empty
	uint32_t joined;  // how many of them init is in
	int32_t forked;   // PID of the child in which init went on to join; 0 if there was none
	uint32_t names;   // offset of the folders' names, each with a NUL at its end
	struct sock_filter program[];
};

_Static_assert(offsetof(struct init_page, program) == 36, "page.go mirrors this");

// page is not NULL in a container's init.
extern struct init_page *page;

// soft_nofile is init's soft limit on open files before the Go runtime raised it
// (syscall/rlimit.go).
extern rlim_t soft_nofile;

// arm_start starts the arming thread. It returns once that thread waits, or an
// errno.
int arm_start(void);

#endif
