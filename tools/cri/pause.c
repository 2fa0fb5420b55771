// pause is PID 1 of a pod.
#include <unistd.h>

int main(void)
{
	for (;;)
		pause();
}
