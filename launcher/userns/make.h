// How root makes a user namespace that it does not enter itself (make.c).
#pragma once

#include <stdint.h>

enum make_step {
	MAKE_DONE,
	MAKE_CLONE, // clone(2)
	MAKE_MAP,   // the maps of users and groups
	MAKE_OPEN,  // the namespaces, in /proc
};

struct made {
	enum make_step failed;
	int error;   // errno
	int user;    // the user namespace
	int network; // a network namespace that it owns, or -1
};

// make_user_namespace makes a user namespace in which 0 to count-1 are first and what follows it
// outside, and a network namespace in it if that is wanted.
struct made make_user_namespace(uint32_t first, uint32_t count, int network);
