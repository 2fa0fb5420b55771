package arm

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestInitPageTooLong(t *testing.T) {
	if _, err := New(maxInstructions+1, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "4097 instructions") {
		t.Errorf("%v", err)
	}
}

// A text with a NUL byte would be two.
func TestInitPageNUL(t *testing.T) {
	if _, err := New(0, nil, []string{"echo", "a\x00b"}, nil); err == nil || err.Error() != `"a\x00b" has a NUL byte, which ends an argument (execve(2))` {
		t.Errorf("%v", err)
	}
}

// testPage is a page in which no init is, and which waits only for a moment.
func testPage(t *testing.T) *Page {
	t.Helper()
	page, err := New(1, nil, []string{"true"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { page.Close() })
	page.patience, page.setUp = 20*time.Millisecond, 20*time.Millisecond
	page.Load([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}, 0)
	return page
}

// An init that is stuck is given up.
func TestInitStuck(t *testing.T) {
	page := testPage(t)
	if err := page.WaitParked(); err == nil || err.Error() != "container init does not get ready" {
		t.Errorf("%v", err)
	}
	if _, err := page.Install(nil); err == nil || !strings.Contains(err.Error(), "container init is not ready") {
		t.Errorf("%v", err)
	}
	if page.state() != 0 {
		t.Errorf("the page was written to: state %d", page.state())
	}
	page.shared.state = parked
	if _, err := page.Install(nil); err == nil || err.Error() != "the arming thread does not answer" {
		t.Errorf("%v", err)
	}
}

// The end of an init is noticed at once, in whatever state it was.
func TestInitDies(t *testing.T) {
	for name, wait := range map[string]func(*Page) error{
		"before it is ready": (*Page).WaitParked,
		"under way": func(p *Page) error {
			p.shared.state = parked
			_, err := p.Install(nil)
			return err
		},
		"armed": func(p *Page) error { return errors.Join(p.Exec(), p.WaitExec()) },
	} {
		t.Run(name, func(t *testing.T) {
			page := testPage(t)
			page.patience = time.Hour
			page.Started() // nobody has the other end
			if err := wait(page); !errors.Is(err, ErrInitDied) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A launcher that is itself under a filter which denies the wait for another process's futex gives a
// stuck init up too.
func TestInitStuckWithoutFutex(t *testing.T) {
	page := testPage(t)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()          // it ends with the goroutine, and so does its filter
		const nr, operation = 0, 16 + 8 // of struct seccomp_data: the call, and the second argument
		const wait = 0                  // FUTEX_WAIT; the Go runtime's are private
		program := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FUTEX, Jf: 3},
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: operation},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: wait, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0)
		}
		if err == nil {
			err = page.WaitParked()
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || err.Error() != "container init does not get ready" {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits without end")
	}
}

// A page that another process has made is found by its descriptors' numbers: here in a
// process that has it at 103 and its pipe's end at 104.
func TestReopen(t *testing.T) {
	page := testPage(t)
	const kept = 100
	for i, f := range page.Keep()[:2] {
		if err := unix.Dup3(int(f.Fd()), 3+kept+i, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	page.passed.Close()
	fd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	again, err := Reopen(pidfd, kept)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !again.Loaded() {
		t.Error("the program is not in it")
	}
	again.shared.state = parked
	if page.state() != parked {
		t.Error("it is another page")
	}
	if closed, err := again.closed(0); closed || err != nil {
		t.Errorf("closed: %v %v", closed, err)
	}
	unix.Close(3 + kept + 1)
	if err := again.WaitExec(); !errors.Is(err, ErrInitDied) {
		t.Errorf("the end of init: %v", err)
	}
	if _, err := Reopen(pidfd, kept+50); !errors.Is(err, unix.EBADF) {
		t.Errorf("%v", err)
	}
}
