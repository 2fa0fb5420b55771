// The page that the launcher and a container's init share while a filter is
// armed. The launcher writes flags, length and program, then state; the arming
// thread writes error and listener, then state. arm.go mirrors the offsets.
#ifndef MINIRUN_ARM_H
#define MINIRUN_ARM_H

#include <linux/filter.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

enum arm_state {
	ARM_NEW = 0,    // the page is there, the thread is not
	ARM_READY = 1,  // the thread waits
	ARM_GO = 2,     // the launcher wants the program installed
	ARM_DONE = 3,   // every thread of init is under the filter
	ARM_FAILED = 4, // error says why; nothing was installed
};

struct arm_page {
	_Atomic uint32_t state;
	int32_t error;    // errno of the step that failed
	int32_t listener; // reserved for SECCOMP_FILTER_FLAG_NEW_LISTENER
	uint32_t flags;   // SECCOMP_FILTER_FLAG_*
	uint32_t length;  // instructions in program
	struct sock_filter program[];
};

_Static_assert(offsetof(struct arm_page, program) == 20, "arm.go mirrors this");

// soft_nofile is the soft limit on open files that the process began with, before
// the Go runtime raised it (syscall/rlimit.go).
extern rlim_t soft_nofile;

// arm_start maps the page behind fd, marks fd close-on-exec and starts the
// arming thread. It returns once that thread waits, or an errno.
int arm_start(int fd);

#endif
