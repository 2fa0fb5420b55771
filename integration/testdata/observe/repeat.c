// repeat N makes the same denied call N times.
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)argc;
	for (long i = atol(argv[1]); i > 0; i--)
		if (syscall(SYS_acct, "/x") != -1 || errno != EPERM)
			return 1;
	return 0;
}
