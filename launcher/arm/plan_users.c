// How init becomes root of the container's user namespace, who has no privileges on the
// host.
#define _GNU_SOURCE
#include "plan_init.h"
#include "quit.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// go_on_in_child makes namespaces that belong to the user namespace of this process, which
// ends: a PID namespace is one for children. The child is the launcher's, and leads a session
// as this process did.
static int go_on_in_child(uint64_t namespaces)
{
	const uint64_t flags = namespaces | CLONE_PARENT | CLONE_PARENT_SETTID;
	struct clone_args args = {.flags = flags, .parent_tid = (uintptr_t)&page->init};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0 && errno == ENOSYS) // Docker's filter
		pid = syscall(SYS_clone, flags, NULL, &page->init, NULL, 0);
	if (pid > 0)
		_exit(0);
	return pid < 0 ? -1 : setsid();
}

// The IDs that the process had mean nothing in the namespace, and there is no way back.
// Groups are dropped first, since they are the host's.
int plan_do_users(const struct plan_step *step)
{
	if (syscall(SYS_setns, step->mode, CLONE_NEWUSER) < 0 || close(step->mode) < 0)
		return -1;
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		return -1;
	if (step->value[0] && go_on_in_child(step->value[0]) < 0)
		return -1;
	return prctl(PR_SET_DUMPABLE, 0) < 0 ? -1 : plan_die_with_launcher();
}
