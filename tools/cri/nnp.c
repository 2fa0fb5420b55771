// nnp prints whose it is: critest starts it, set-user-ID, with and without no_new_privs.
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	return printf("Effective uid: %d\n", geteuid()) < 0;
}
