package startup

import "C"

import (
	"syscall"
	"unsafe"
)

const (
	page = 4096
	// size is nine tenths of what the heap of a launch grows to. A part that is beyond what the Go
	// runtime has reserved so far stays as it is.
	size = 2560 << 10

	madvPopulateWrite = 23
)

// first is on the heap, in the first page that is mapped.
var first = mapHeap()

func mapHeap() *[64]byte {
	first := new([64]byte)
	_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, start(first), size, madvPopulateWrite)
	return first
}

func start(first *[64]byte) uintptr { return uintptr(unsafe.Pointer(first)) &^ (page - 1) }
