// How a user's process becomes root of a user namespace (enter.c).
#pragma once

#include <sys/types.h>

// Each has a program and its arguments, a line each; the process ID goes between them.
// Both are unset: the IDs are those of the user alone.
#define UIDS_VARIABLE "_MINIRUN_NEWUIDMAP"
#define GIDS_VARIABLE "_MINIRUN_NEWGIDMAP"

// ENTER_VARIABLE is set where this process is to enter a user namespace: "new", or that of
// a process, by its ID.
#define ENTER_VARIABLE "_MINIRUN_USERNS"

enum enter_step {
	ENTER_NOT_TRIED,
	ENTER_DONE,
	ENTER_PREPARE,  // pipes and a helper
	ENTER_UNSHARE,  // unshare(2)
	ENTER_CONFINED, // AppArmor's profile for programs that it does not know
	ENTER_MAP_UIDS,
	ENTER_MAP_GIDS,
	ENTER_JOIN, // setns(2)
};

struct entered {
	enum enter_step step; // ENTER_DONE, or what failed
	int error;            // errno; 0 where a program said why
	uid_t uid;            // the user's, outside
	char said[512];       // what newuidmap and newgidmap wrote to their standard error
};

extern struct entered entered;

// userns_write writes a text to a file of /proc. It returns -1, with errno, if it cannot.
int userns_write(const char *path, const char *text);
