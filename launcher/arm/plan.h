// The plan: what a container's init does from its first instruction to execve(2), as a
// list of steps. The launcher writes it (launcher/plan, plan.go) to a sealed memfd, and
// init carries it out, one step after another (plan.c), before the Go runtime starts.
//
//	struct plan          at offset 0
//	struct plan_step[]   plan.steps of them
//	texts                each ends with a NUL byte; so does the file
//
// This file is the only description of the format. Its version changes with it.
#ifndef MINIRUN_PLAN_H
#define MINIRUN_PLAN_H

#include <stdint.h>

#define PLAN_MAGIC "minirun"
enum { PLAN_VERSION = 4 };

struct plan {
	char magic[8];    // PLAN_MAGIC
	uint32_t version; // PLAN_VERSION
	uint32_t steps;
	uint32_t size; // of the file
	uint32_t unused;
};

// What the fields of a step mean depends on its kind; they are 0 where nothing is said.
// Texts are offsets in the file; offset 0 is no text.
struct plan_step {
	uint32_t kind;  // enum plan_kind
	uint32_t flags; // enum plan_flag
	uint32_t path;
	uint32_t source;
	uint32_t type;
	uint32_t list;   // number of texts one after another, or of uint32_t at a multiple of 4
	uint32_t number; // how many are in the list
	uint32_t mode;
	uint64_t value[4];
};

_Static_assert(sizeof(struct plan) == 24 && sizeof(struct plan_step) == 64, "no padding");

enum plan_kind {
	// Before the root. Paths are the host's.
	PLAN_KEYRING = 1, // join a new session keyring named path; mode: what its permissions also have
	PLAN_NAMESPACES,  // unshare value[0], CLONE_NEW*. That of PIDs has been made by then
	PLAN_JOIN,        // join the namespace that the file mode is, of type value[0]
	PLAN_USERS,       // become root of the user namespace that the file mode is, and go on in a child in
	                  // new namespaces value[0], if that is not 0
	PLAN_LOOPBACK,    // bring the loopback device up
	PLAN_OOM_SCORE,   // set oom_score_adj to path
	PLAN_ROOT,        // mount path on itself: the root of all paths that follow

	// In the root. Paths are followed as if the root were "/".
	PLAN_MOUNT, // mount a new file system of a type, from a source, at path. list: its options;
	            // value[0]: MOUNT_ATTR_*; value[3]: its propagation, MS_* and MS_REC
	PLAN_BIND,  // mount the host's source at path. value[0], value[1]: MOUNT_ATTR_* to set and to
	            // clear; value[2]: to set in all mounts below too; value[3]: propagation
	PLAN_NODE,  // make the device value[0] at path. mode; value[1], value[2]: user and group
	PLAN_LINK,  // make path a link to source, unless it exists
	PLAN_HOOKS, // wait until the launcher has run hooks, which may mount something
	PLAN_PIVOT, // make the root "/"; nothing of the host's is left

	// In the container. Paths are the container's.
	PLAN_NULL,      // standard files that are the host's /dev/null become the container's
	PLAN_DIRECTORY, // make the directory path, and those above it, with the mode
	PLAN_CONSOLE,   // make a terminal. mode: the file over whose socket it is sent; value[0],
	                // value[1]: columns and rows, or 0
	PLAN_READ_ONLY, // make the mount at path read-only
	PLAN_UMASK,     // mode
	PLAN_HOST_NAME, // path
	PLAN_DOMAIN_NAME,
	PLAN_APPARMOR, // confine the command by the profile path
	PLAN_SYSCTL,   // write source to /proc/path
	PLAN_PROTECT,  // mount path on itself, read-only
	PLAN_MASK,     // hide path

	// Of the process.
	PLAN_NO_NEW_PRIVS,
	PLAN_RLIMIT,       // number: which; value[0], value[1]: soft and hard
	PLAN_ARM,          // start the thread that will install the filter, and keeps its capabilities
	PLAN_ENTER,        // make path the working directory
	PLAN_BOUNDING,     // value[0]: the bounding set, a bit for each capability
	PLAN_USER,         // value[0], value[1]: user and group; list: the supplementary groups
	PLAN_CAPABILITIES, // value[0] to value[3]: effective, permitted, inheritable, ambient
	PLAN_COMMAND,      // find the command in path, the PATH, and become it

	PLAN_KINDS
};

enum plan_flag {
	PLAN_RECURSIVE = 1,   // BIND: with all that is mounted below source
	PLAN_CHANGE = 2,      // BIND: value[0] and value[1] count
	PLAN_KEEP_MODE = 4,   // MOUNT: a tmpfs has the mode of the directory that it hides
	PLAN_NO_LINKS = 8,    // MOUNT: no part of path is a link
	PLAN_REPLACE = 16,    // LINK: what was at path is removed
	PLAN_IN_PROC = 32,    // MOUNT, BIND: path may be in /proc
	PLAN_AT_PROC = 64,    // BIND: path is /proc itself: source is a procfs
	PLAN_LATER = 128,     // ENTER: if this user may not, the container's will try
	PLAN_KEEP_GROUPS = 256, // USER: no groups can be set in this user namespace
	PLAN_OPENED = 512,    // BIND: the file mode is a copy of the mount at source
};

// Why a step failed, where the errno does not say it.
enum plan_reason {
	PLAN_ERRNO,
	PLAN_OUTSIDE_OF_ROOT,  // the working directory is
	PLAN_NOT_A_DIRECTORY,  // a procfs or sysfs is mounted on an ordinary directory only
	PLAN_INSIDE_PROC,      // nothing is mounted there
	PLAN_NOT_PROC,         // /proc can only be a procfs
	PLAN_AT_THE_ROOT,      // nothing is mounted on the root itself
	PLAN_NOT_NULL,         // /dev/null is another device
	PLAN_NOT_PTMX,         // /dev/pts/ptmx is not of a devpts
	PLAN_NOT_IN_PATH,      // the command
	PLAN_IN_WORKING_DIRECTORY, // where a relative PATH has found the command
	PLAN_DEVICE_CHANGED,   // the new device node is another one
};

#endif
