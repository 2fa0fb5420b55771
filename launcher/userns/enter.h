// How a user's process becomes root of a user namespace (enter.c).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// Each has a program and its arguments, a line each; the process ID goes between them. If
// both are unset, the user's own IDs are the only ones.
#define UIDS_VARIABLE "_MINIRUN_NEWUIDMAP"
#define GIDS_VARIABLE "_MINIRUN_NEWGIDMAP"

// ENTER_VARIABLE is set where this process is to enter a user namespace: "new", or that of
// a process, by its ID; or where it is in one already that a user's process has entered:
// "same".
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
	bool early;           // without ENTER_VARIABLE
	char said[512];       // what newuidmap and newgidmap wrote to their standard error
};

extern struct entered entered;

// userns_write writes a text to a file of /proc. It returns -1, with errno, if it cannot.
int userns_write(const char *path, const char *text);

// userns_begin makes a user namespace for this process, and starts what maps its IDs. The
// commands are as in UIDS_VARIABLE and GIDS_VARIABLE. Until userns_settle the process has no
// IDs, and the Go runtime can start meanwhile.
void userns_begin(char *uids, char *gids);

// userns_settle waits until the IDs are mapped, if they are to be, and notes in entered
// how that went. The error is ETIMEDOUT for a program that does not end within ten seconds.
void userns_settle(void);

// userns_enter_early calls userns_begin for a launch that has nothing to do outside first.
void userns_enter_early(int argc, char **argv);

// userns_plain_launch reports whether these are the arguments of a launch that has nothing
// to do outside of its user namespace. Where they may be something else it is false.
bool userns_plain_launch(int argc, char **argv);

// userns_find_ids finds the program that maps a user's IDs, and the ranges that a file
// gives the user: a command as in UIDS_VARIABLE, which maps own to 0 inside. It returns
// false if there are none, or if that cannot be told here.
bool userns_find_ids(const char *passwd, const char *subid, const char *tool, uid_t uid, uid_t own, char *command, size_t size);
