// names has a hostile name, and passes hostile paths.
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	prctl(PR_SET_NAME, "\033]0;x\007\n", 0, 0, 0);
	char *two = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(two + 4096, 4096);
	strcpy(two + 4096 - 5, "last"); // the NUL is the mapping's last byte
	static char large[5001];
	memset(large, 'a', 5000);
	memcpy(large, "\377\033[2J", 5);
	const char *paths[] = {two + 4096 - 5, large, (char *)1};
	for (int i = 0; i < 3; i++)
		if (syscall(SYS_acct, paths[i]) != -1 || errno != EPERM)
			return 1;
	return 0;
}
