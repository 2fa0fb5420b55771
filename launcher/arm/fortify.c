// Distributions build libseccomp with _FORTIFY_SOURCE (feature_test_macros(7)): it calls
// these two of glibc, which musl does not have.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef __GLIBC__
int __fprintf_chk(FILE *to, int flag, const char *format, ...)
{
	(void)flag;
	va_list arguments;
	va_start(arguments, format);
	int n = vfprintf(to, format, arguments);
	va_end(arguments);
	return n;
}

void *__memset_chk(void *to, int byte, size_t size, size_t room)
{
	if (size > room)
		abort();
	return memset(to, byte, size);
}
#endif
