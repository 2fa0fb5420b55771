// Package thread runs functions on threads of their own, for what a thread cannot undo:
// joining a namespace, or making one.
package thread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Go calls f on a thread that ends when f returns. It is never the process's first
// thread: that stands for the whole process in /proc/self, and does not end.
func Go(f func()) {
	go func() {
		runtime.LockOSThread() // a thread that is not unlocked ends with its goroutine
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		locked := make(chan struct{})
		Go(func() {
			close(locked)
			f()
		})
		<-locked
		runtime.UnlockOSThread()
	}()
}

// Do is Go, and waits for f.
func Do(f func() error) error {
	done := make(chan error, 1)
	Go(func() { done <- f() })
	return <-done
}
