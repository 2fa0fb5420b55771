package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// armTimeout bounds the wait for init to park and for the thread to answer.
// Both take well under a millisecond on an idle machine.
const armTimeout = 30 * time.Second

// install has the arming thread of the parked init pid put all its threads
// under the filter. On an error init may be in any state: the caller kills it.
func (p *initPage) install(pid int, filter []unix.SockFilter, flags uint32) error {
	deadline := time.Now().Add(armTimeout)
	if err := waitParked(pid, deadline); err != nil {
		return err
	}
	if s := p.state(); s != pageReady {
		return fmt.Errorf("the arming thread is not waiting (state %d)", s)
	}
	*p.word(offsetFlags) = flags
	*p.word(offsetLength) = uint32(len(filter))
	copy(p.mem[offsetProgram:], unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(filter))), len(filter)*sizeofInstruction))
	atomic.StoreUint32(p.word(offsetState), pageGo)
	if err := futexWake(p.word(offsetState)); err != nil {
		return err
	}
	return p.await(pid, deadline)
}

// await waits for the thread's answer. The thread cannot wake us: from the
// moment that the filter is there, what it may call is the profile's decision.
func (p *initPage) await(pid int, deadline time.Time) error {
	return poll(pid, deadline, "the arming thread does not answer", func() (bool, error) {
		switch p.state() {
		case pageDone:
			return true, nil
		case pageFailed:
			return false, unix.Errno(*p.word(offsetError))
		}
		return false, nil
	})
}

// waitParked returns once the main thread of pid blocks in the open(2) of
// libcontainer's exec FIFO: the last thing that it does before it is told to
// exec. proc_pid_syscall(5): "running" while it does not block, else the number
// of the call and its arguments in hexadecimal.
func waitParked(pid int, deadline time.Time) error {
	path := "/proc/" + strconv.Itoa(pid) + "/syscall"
	return poll(pid, deadline, "container init does not park", func() (bool, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		return opensForWriting(data), nil
	})
}

// opensForWriting reports whether a line of /proc/PID/syscall is an
// openat(2) with O_WRONLY.
func opensForWriting(line []byte) bool {
	fields := bytes.Fields(line)
	if len(fields) < 4 || string(fields[0]) != strconv.Itoa(unix.SYS_OPENAT) {
		return false
	}
	flags, err := strconv.ParseUint(string(bytes.TrimPrefix(fields[3], []byte("0x"))), 16, 64)
	return err == nil && flags&unix.O_ACCMODE == unix.O_WRONLY
}

// poll asks ready until it says yes, with pauses of an eighth of the time that it
// has waited, from 20 µs to 1 ms, and gives up at the deadline or when the process
// is gone. The thread itself pauses: time.Sleep would hand over to another thread,
// which for a goroutine that is locked to its own takes longer than the pause.
func poll(pid int, deadline time.Time, what string, ready func() (bool, error)) error {
	for begin := time.Now(); ; {
		ok, err := ready()
		if ok || err != nil {
			return err
		}
		if exited(pid) {
			return errors.New("container init died")
		}
		now := time.Now()
		if now.After(deadline) {
			return errors.New(what)
		}
		pause := unix.NsecToTimespec(int64(min(max(now.Sub(begin)/8, 20*time.Microsecond), time.Millisecond)))
		_ = unix.Nanosleep(&pause, nil) // shorter when a signal comes
	}
}

// exited reports whether our child pid has ended, and leaves it to be waited for.
func exited(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != nil || info.Signo != 0
}

func futexWake(word *uint32) error {
	const futexWake = 1 // FUTEX_WAKE of linux/futex.h; not private: init wakes through another mapping
	if _, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("futex", errno)
	}
	return nil
}
