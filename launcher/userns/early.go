package userns

/*
#include "enter.h"
#include <stdlib.h>
*/
import "C"

import "unsafe"

// Early reports whether this process has begun to enter a user namespace before the Go
// runtime started, and so only once.
func Early() bool { return bool(C.entered.early) }

// PlainLaunch reports whether a process with these arguments, of which the first is the
// program's name, enters a user namespace before Go reads them (early.c): they are those of
// a launch that has nothing to do outside. It returns false if that is in doubt.
func PlainLaunch(args []string) bool {
	argv := make([]*C.char, len(args)+1)
	for i, arg := range args {
		argv[i] = C.CString(arg)
		defer C.free(unsafe.Pointer(argv[i]))
	}
	list := (**C.char)(C.malloc(C.size_t(len(argv)) * C.size_t(unsafe.Sizeof(argv[0]))))
	defer C.free(unsafe.Pointer(list))
	copy(unsafe.Slice(list, len(argv)), argv)
	return bool(C.userns_plain_launch(C.int(len(args)), list))
}

// findPlain returns the command that maps a user's IDs, as C finds it, or "" if C leaves
// that to [Find].
func findPlain(passwd, subid, tool string, uid, own int) string {
	words := [...]*C.char{C.CString(passwd), C.CString(subid), C.CString(tool)}
	for _, word := range words {
		defer C.free(unsafe.Pointer(word))
	}
	var command [1024]C.char
	if !C.userns_find_ids(words[0], words[1], words[2], C.uid_t(uid), C.uid_t(own), &command[0], C.size_t(len(command))) {
		return ""
	}
	return C.GoString(&command[0])
}
