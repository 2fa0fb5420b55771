// hang passes a path that cannot be read: its page is never filled (userfaultfd(2)).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register trap = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	trap.range = (struct uffdio_range){(unsigned long)page, 4096};
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &trap) < 0)
		return 2;
	for (int i = 0; i < 2; i++) {
		struct timespec begin, end;
		clock_gettime(CLOCK_MONOTONIC, &begin);
		long result = syscall(SYS_acct, page);
		int error = errno;
		clock_gettime(CLOCK_MONOTONIC, &end);
		long ms = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
		printf("%s %ld\n", result == -1 ? strerror(error) : "GOT THROUGH", ms);
	}
	return 0;
}
