// nest installs a filter with a listener of its own that is notified of unshare(2), and
// answers it with CONTINUE. With two files it waits until the second exists, and writes to
// the first what happened.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int listen_nested(void)
{
	struct sock_filter insns[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, insns};
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static void report(const char *what, long result)
{
	printf("%s: %s\n", what, result < 0 ? strerror(errno) : "GOT THROUGH");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	puts("ready");
	fflush(stdout);
	while (argc > 2 && access(argv[2], F_OK) < 0)
		usleep(1000);
	if (argc > 1 && !freopen(argv[1], "w", stdout))
		return 2;
	int listener = listen_nested();
	report("listener", listener);
	if (listener >= 0) {
		// A child without a way to stop: it answers for us.
		if (syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0) == 0) {
			struct seccomp_notif n;
			memset(&n, 0, sizeof n);
			if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) == 0) {
				struct seccomp_notif_resp r = {.id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
				ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
			}
			_exit(0);
		}
	}
	report("unshare", unshare(CLONE_NEWUSER));
	return 0;
}
