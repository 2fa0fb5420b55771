/*
 * Makes system calls under a filter, and says which errno each got.
 *
 * Standard input: the number of instructions (u32), struct sock_filter for each, the
 * number of calls (u32), and for each call its number and six arguments (u64).
 * Standard output: an errno (u32) for each call. Every return of the filter has to
 * be an errno: after it is there, the child can do nothing else.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sock_filter filter[BPF_MAXINSNS];

static void get(void *to, size_t size)
{
	if (fread(to, 1, size, stdin) != size)
		exit(2);
}

int main(void)
{
	uint32_t instructions, calls;
	get(&instructions, sizeof instructions);
	if (instructions > BPF_MAXINSNS)
		return 2;
	get(filter, instructions * sizeof *filter);
	get(&calls, sizeof calls);
	uint64_t(*call)[7] = calloc(calls, sizeof *call);
	get(call, calls * sizeof *call);
	size_t size = (calls + 1) * sizeof(uint32_t);
	volatile uint32_t *result = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED)
		return 2;
	pid_t pid = fork();
	if (pid < 0)
		return 2;
	if (pid == 0) {
		struct sock_fprog program = { .len = (unsigned short)instructions, .filter = filter };
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
			_exit(errno);
		for (uint32_t i = 0; i < calls; i++) {
			uint64_t *c = call[i];
			result[i] = syscall((long)c[0], c[1], c[2], c[3], c[4], c[5], c[6]) == -1 ? (uint32_t)errno : 0;
		}
		result[calls] = 1;
		for (;;) /* to end would be a system call */
			;
	}
	int status;
	while (!result[calls])
		if (waitpid(pid, &status, WNOHANG) != 0)
			return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return fwrite((void *)result, sizeof *result, calls, stdout) != calls;
}
