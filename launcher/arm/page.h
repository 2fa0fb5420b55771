// The page that the launcher and a container's init share while it starts.
//
//	 by init            by the launcher
//
//	 NEW                                 init has begun, and joins its cgroups
//	  │
//	 READY                               its arming thread waits; libcontainer sets up the container
//	  │
//	 PARKED                              libcontainer is done, the Go runtime has ended, files are closed
//	  ├───────────────► GO               the program is in the page: install it
//	  │                  │
//	  │     ARMED ◄──────┘               all threads are under the filter; its listener, if any, is in the page
//	  │      │
//	  └──────┴────────► RUN              call execve(2)
//	                     │
//	 EXEC ◄──────────────┘               execve(2) has begun
//
//	 FAILED                              from any state of init's: step and error say what failed
//
// Each side waits for the other's states and writes none of them. From GO on, init
// may make no call but execve(2), so it tells the launcher by memory alone.
#ifndef MINIRUN_PAGE_H
#define MINIRUN_PAGE_H

#include <linux/filter.h>
#include <stdint.h>
#include <sys/resource.h>

enum page_state {
	PAGE_NEW,
	PAGE_READY,
	PAGE_PARKED,
	PAGE_GO,
	PAGE_ARMED,
	PAGE_RUN,
	PAGE_EXEC,
	PAGE_FAILED,
};

enum page_step {
	STEP_JOIN = 1, // join the cgroups
	STEP_LOOKUP,   // look the command up again
	STEP_THREADS,  // end the Go runtime's threads
	STEP_FILES,    // close what the command is not to have
	STEP_FILTER,   // install the filter
	STEP_EXEC,     // execve(2)
	STEP_PLAN,     // a step of the plan: at, reason
};

enum page_hooks {
	HOOKS_WAIT = 1, // init waits for the launcher to run them
	HOOKS_DONE,
};

// The first three words are futexes, and read and written atomically.
struct init_page {
	uint32_t state;   // enum page_state
	uint32_t quiet;   // 1: the next call of init's main thread is execve(2)
	uint32_t asleep;  // 0: where the main thread waits once it is known to wait
	uint32_t step;    // enum page_step, when state is PAGE_FAILED
	int32_t error;    // its errno
	int32_t listener; // number of the filter's listener in init, or -1
	uint32_t flags;   // SECCOMP_FILTER_FLAG_*
	uint32_t length;  // instructions in program
	uint32_t files;   // how many files from PAGE_FD on libcontainer passes on
	uint32_t kept;    // how many of them, after the page's own, the command gets, from PAGE_FD on
	uint32_t cgroups; // directories in strings; the first is of cgroup v2, and may be empty
	uint32_t joined;  // how many of them init is in
	int32_t init;     // PID of init, outside; 0: it is the process that was started
	int32_t forked;   // PID of the child in which init went on to join; 0 if there was none
	uint32_t args;    // arguments in strings, after the cgroups
	uint32_t env;     // NAME=VALUE in strings, after the arguments
	uint32_t outlives; // 1: init does not end with the launcher
	uint32_t joins;   // 1: /proc is what a container has mounted there, and not to be trusted
	uint32_t homed;   // 1: an environment without HOME gets that of the user's entry in /etc/passwd
	uint32_t strings; // offset of all these texts, each with a NUL at its end
	uint32_t hooks;   // a futex: enum page_hooks
	uint32_t at;      // which step of the plan, when step is STEP_PLAN; UINT32_MAX: none yet
	uint32_t reason;  // enum plan_reason
	char path[4096];  // what execve(2) could not run, or where a step of the plan failed; PATH_MAX
	struct sock_filter program[];
};

_Static_assert(sizeof(struct init_page) % _Alignof(struct sock_filter) == 0, "the program follows the page");

enum {
	PAGE_FD = 3,   // the first of libcontainer's ExtraFiles
	OWN_FILES = 2, // the page and the pipe's end; a parked init has them at PAGE_FD + kept
};

// page is not NULL in a container's init.
extern struct init_page *page;

// soft_nofile is init's soft limit on open files before the Go runtime raised it
// (syscall/rlimit.go).
extern rlim_t soft_nofile;

// next_string returns what follows a text of the page.
char *next_string(char *text);

// fail_init writes to the page what failed, and ends the process, which must not
// be under a filter.
_Noreturn void fail_init(uint32_t step, int error);

// arm_start starts the arming thread. It returns once that thread waits, or an
// errno.
int arm_start(void);

// command is the first argument in the page.
const char *command(void);

// end_threads ends the Go runtime's threads until only so many are left, which block all
// signals. It returns 0 or an errno.
int end_threads(unsigned own);

// take_over ends every thread but the calling one and the arming thread, and runs the
// command.
_Noreturn void take_over(const char *path, char *home);

// run_command waits for the filter, and becomes the command at path. Besides the calling
// thread there is the arming thread at most. home is added to the environment unless it
// is NULL.
_Noreturn void run_command(const char *path, char *home);

// has_home reports whether the page's environment sets HOME.
int has_home(void);

// PLAN_VARIABLE names the file of the plan (plan.h) in the environment of an init that
// has one, and is not libcontainer's.
#define PLAN_VARIABLE "_MINIRUN_PLAN"

// carry_out_plan does what the plan in a file says, and becomes the command.
_Noreturn void carry_out_plan(int fd);

#endif
