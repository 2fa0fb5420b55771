// Package startup takes less processor time for what every start of the program does:
//
//   - The kernel maps the memory that a start touches by a few calls (madvise(2),
//     MADV_POPULATE_READ), instead of by some 400 page faults. In a virtual machine a page fault takes up
//     to 17 µs, and each page of such a call 1 µs. Before Linux 5.14 nothing changes.
//   - Go code runs on one processor at first. A start has little to do at the same time, and on more
//     processors the Go runtime starts threads that look for work.
//
// The package imports next to nothing, so that it is initialised before almost all others.
package startup

import (
	"runtime"
	"syscall"
	"time"
)

// alone is how long Go code runs on one processor: longer than a start takes, and much shorter
// than unpacking an image.
const alone = 100 * time.Millisecond

var limited = limit()

// limit has Go code run on one processor, unless the user has set a limit (package runtime,
// GOMAXPROCS).
func limit() bool {
	if set, _ := syscall.Getenv("GOMAXPROCS"); set != "" {
		return false
	}
	runtime.GOMAXPROCS(1)
	return true
}

// AllProcessorsLater has Go code run on all processors in a tenth of a second. A container's init
// does not call it: the runtime would start threads while the filter is installed.
func AllProcessorsLater() {
	if limited {
		time.AfterFunc(alone, runtime.SetDefaultGOMAXPROCS)
	}
}
