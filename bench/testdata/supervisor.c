// supervisor COMMAND...: the least that answers a call which a filter leaves to its listener
// (seccomp_unotify(2)), to tell how far one could go. Each acct(2) of COMMAND fails with EPERM.
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS // Linux 6.6
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#endif

static void answer(struct pollfd listener)
{
	while (poll(&listener, 1, -1) == 1) {
		struct seccomp_notif call = {0};
		if (ioctl(listener.fd, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
			continue; // the caller was killed
		struct seccomp_notif_resp denied = {.id = call.id, .error = -EPERM};
		ioctl(listener.fd, SECCOMP_IOCTL_NOTIF_SEND, &denied);
	}
}

int main(int argc, char **argv)
{
	struct sock_filter acct[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(acct) / sizeof(*acct), acct};
	if (argc < 2)
		errx(125, "usage: supervisor COMMAND...");
	struct pollfd listener = {.events = POLLIN};
	listener.fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
	if (listener.fd < 0)
		err(125, "seccomp");
	ioctl(listener.fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	pid_t pid = fork();
	if (pid < 0)
		err(125, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		answer(listener);
		return 0;
	}
	close(listener.fd);
	execvp(argv[1], argv + 1);
	err(125, "%s", argv[1]);
}
