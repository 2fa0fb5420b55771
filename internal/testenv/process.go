package testenv

import (
	"bufio"
	"io"
	"os/exec"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Start starts a command with pipes for its standard input and output. If it still runs at
// the test's end it is killed.
func Start(t testing.TB, cmd *exec.Cmd) (in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // an error if the test has waited
	})
	return in, bufio.NewReader(pipe)
}

// Disk mounts a file system in memory, with options of tmpfs(5), such as its size. It needs
// root.
func Disk(t testing.TB, options string) (dir string) {
	t.Helper()
	Root(t)
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Exchange exchanges two files all the time (renameat2(2)), until stop is called, which waits.
func Exchange(one, other string) (stop func()) {
	done := make(chan struct{})
	var exchanger sync.WaitGroup
	exchanger.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			}
		}
	})
	return func() {
		close(done)
		exchanger.Wait()
	}
}
