// What the files of the plan's interpreter share. Functions return -1 and set errno
// when they fail, as system calls do.
//
// No function here allocates memory, takes a lock, or has libc look at threads: set-up
// steps are system calls on descriptors. From PLAN_ARM on a second thread exists, which
// only waits.
#ifndef MINIRUN_PLAN_INIT_H
#define MINIRUN_PLAN_INIT_H

#include "page.h"
#include "plan.h"

#include <stdbool.h>
#include <sys/types.h>

// plan_root is the container's root, O_PATH, from PLAN_ROOT on.
extern int plan_root;

// plan_text returns a text of the plan; that of offset 0 is empty.
const char *plan_text(uint32_t offset);

// plan_list returns the list of a step.
const void *plan_list(const struct plan_step *step);

// fail_because sets errno, and the reason for a failure that errno does not say. It returns
// -1.
int fail_because(enum plan_reason reason, int error);

// fail_at sets the path at which a step failed, for the launcher. It returns -1.
int fail_at(const char *path);

// open_in_root opens a path in the root (plan_path.c), whatever links lead there: they cannot leave
// it, and those of procfs that are no paths (/proc/PID/fd/N) are refused.
int open_in_root(const char *path, int flags);

// write_proc writes a text to a file of a procfs that only init has, on which nothing
// is mounted: "sys/net/...", "self/...".
int write_proc(const char *path, const char *text);

// is_device reports whether a file is that character device.
bool is_device(int fd, unsigned major, unsigned minor);

// plan_die_with_launcher sets the parent-death signal, which a change of user clears.
int plan_die_with_launcher(void);

// The steps, by the file that they are in.

int plan_do_root(const struct plan_step *);     // plan_root.c
int plan_do_mount(const struct plan_step *);
int plan_do_bind(const struct plan_step *);
int plan_do_pivot(const struct plan_step *);
int plan_do_read_only(const struct plan_step *);
int plan_do_protect(const struct plan_step *);
int plan_do_mask(const struct plan_step *);

int plan_do_node(const struct plan_step *);     // plan_files.c
int plan_do_link(const struct plan_step *);
int plan_do_directory(const struct plan_step *);
int plan_do_null(const struct plan_step *);
int plan_do_console(const struct plan_step *);

int plan_do_users(const struct plan_step *);    // plan_users.c

int plan_do_enter(const struct plan_step *);    // plan_process.c
int plan_do_bounding(const struct plan_step *);
int plan_do_user(const struct plan_step *);
int plan_do_capabilities(const struct plan_step *);
int plan_do_command(const struct plan_step *);

// home_of_user returns HOME=DIR for the user of this process (plan_home.c).
char *home_of_user(void);

// make_in_root opens what is at a path in the root, O_PATH, and makes what is missing: a
// directory, or with S_IFREG in mode an empty file in such directories. flags are those
// of open_in_root; with O_NOFOLLOW no part of the path is a link, and none is followed
// to where nothing exists.
int make_in_root(const char *path, mode_t mode, int flags);

// split returns the last part of a path and puts what is above it to parent.
const char *split(const char *path, char *parent, size_t size);

// clone_tree copies the mount at an open file, and those below it if it is to be
// recursive, and puts it nowhere.
int clone_tree(int fd, bool recursive);

// attach mounts a copied or new mount at an open file.
int attach(int mount, int target);

#endif
