// calls FILE makes every call number of each architecture that is in the file
// (ARCH NUMBER a line), with arguments of 0, and prints the errno that it got.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long compat(long number)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0), "c"(0), "d"(0), "S"(0), "D"(0) : "memory");
	return result;
}

int main(int argc, char **argv)
{
	char arch[16];
	long number;
	FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
	if (!f) {
		perror("usage: calls FILE");
		return 2;
	}
	while (fscanf(f, "%15s %ld", arch, &number) == 2) {
		long result = !strcmp(arch, "x86") ? compat(number) : syscall(number, 0, 0, 0, 0, 0, 0);
		printf("%s %ld %ld\n", arch, number, result < 0 && !strcmp(arch, "x86") ? -result : result < 0 ? errno : result);
		fflush(stdout);
	}
	return 0;
}
