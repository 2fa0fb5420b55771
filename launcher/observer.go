package launcher

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notification is a call that the filter leaves to its listener: struct seccomp_notif
// (seccomp_unotify(2)). The thread that made it waits for the answer.
type Notification struct {
	TID  int // of the thread, in the launcher's PID namespace
	Nr   uint32
	Arch uint32 // AUDIT_ARCH_*
	IP   uint64
	Args [6]uint64
}

// Answer says what happens to a notified call.
type Answer struct {
	Continue bool       // the kernel executes the call
	Errno    unix.Errno // else the call returns it; 0: it returns 0

	Report bool  // WhenDenied is called
	Texts  uint8 // with the texts that these arguments point to, a bit each
}

// Denied is a call that was answered.
type Denied struct {
	Notification
	Caller Caller         // the zero Caller when the thread ended before it could be looked at
	Texts  [6]*CallerText // nil where there is none, or it could not be read
}

// Observation answers a filter's notifications. Both functions are called by one
// goroutine of the launcher's, and callers wait meanwhile.
type Observation struct {
	// If Spare is not nil it takes the place of [Options.Filter] where a [Watch] does not see
	// all calls; where it does, nothing is notified.
	Spare      []unix.SockFilter
	SpareFlags uint32

	Judge      func(Notification) Answer
	WhenDenied func(Denied) // called after the answer, when that says Report
}

// ObservationFlags returns the SECCOMP_FILTER_FLAG_* with which a filter is best installed
// whose notifications an [Observation] answers. The error is an [Error].
func ObservationFlags() (uint32, error) {
	if err := seccompProbe(probeListener); err != nil {
		return 0, &Error{Op: "seccomp: a filter cannot be observed", Err: err, Cause: CauseListener}
	}
	if seccompProbe(probeKillable) == nil {
		// A signal does not interrupt a call that is being answered, Linux 5.19
		return unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, nil
	}
	return 0, nil
}

// The ioctls of linux/seccomp.h, and the structs that they take.
const (
	notifRecv    = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	notifIDValid = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
	notifFlags   = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS, Linux 6.6
	syncWakeUp   = 1          // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
)

type seccompNotif struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type seccompNotifResp struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// observer answers the notifications of one filter.
type observer struct {
	Observation
	listener *os.File
	reader   callerReader
	wake     *os.File // a pipe's end that ends the observer when it is closed
	stopping *os.File // its other end
	done     chan struct{}
	once     sync.Once
	err      error
}

// observe starts an observer, which closes the listener. init is the container's PID 1.
func observe(listener *os.File, init int, o Observation) (*observer, error) {
	level, err := pidLevel(init)
	if err != nil {
		listener.Close()
		return nil, err
	}
	stopping, wake, err := os.Pipe()
	if err != nil {
		listener.Close()
		return nil, err
	}
	w := &observer{Observation: o, listener: listener, reader: callerReader{level: level}, stopping: stopping, wake: wake, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer w.stopping.Close()
		defer w.listener.Close()
		w.err = w.run()
	}()
	return w, nil
}

// stop answers what is pending, ends the observer and returns why it ended before, if
// it did. Calls that are made later fail with ENOSYS.
func (w *observer) stop() error {
	if w == nil {
		return nil
	}
	w.once.Do(func() { w.wake.Close() })
	<-w.done
	return w.err
}

// run answers until no process has the filter any more, or stop is called.
func (w *observer) run() error {
	listener := w.listener.Fd()
	// The caller and this thread take turns on one processor, which takes a quarter less time on a busy machine.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, listener, notifFlags, syncWakeUp) // EINVAL before Linux 6.6
	fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}, {Fd: int32(w.stopping.Fd())}}
	for {
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return os.NewSyscallError("poll", err)
		}
		switch {
		case fds[0].Revents&unix.POLLIN != 0:
			if err := w.answer(listener); err != nil {
				return err
			}
		case fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0, fds[1].Revents != 0:
			return nil
		}
	}
}

// answer receives one notification and answers it. It is normal that the call has ended
// meanwhile (ENOENT): its process was killed, or a signal interrupted it.
func (w *observer) answer(listener uintptr) error {
	var n seccompNotif
	err := ioctl(listener, notifRecv, unsafe.Pointer(&n))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("receive a seccomp notification: %w", err)
	}
	d := Denied{Notification: Notification{TID: int(n.pid), Nr: uint32(n.nr), Arch: n.arch, IP: n.ip, Args: n.args}}
	a := w.Judge(d.Notification)
	if a.Report {
		d.Caller, d.Texts = w.reader.read(d.Notification, a.Texts)
		if ioctl(listener, notifIDValid, unsafe.Pointer(&n.id)) != nil {
			d.Caller, d.Texts = Caller{}, [6]*CallerText{} // perhaps another's, who got the thread's number
		}
	}
	r := seccompNotifResp{id: n.id, error: -int32(a.Errno)}
	if a.Continue {
		r.error, r.flags = 0, unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	if err := ioctl(listener, notifSend, unsafe.Pointer(&r)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("answer a seccomp notification: %w", err)
	}
	if a.Report {
		w.WhenDenied(d)
	}
	return nil
}

func ioctl(fd, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
