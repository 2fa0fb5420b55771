package launcher

/*
#include "page.h"
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxInstructions is BPF_MAXINSNS of linux/bpf_common.h: a longer program is
// refused by the kernel.
const maxInstructions = 4096

const sizeofInstruction = int(unsafe.Sizeof(unix.SockFilter{}))

// initPatience is for an init that is there and stuck: the end of one is noticed at
// once. It is long, for hundreds of starts at a time take turns.
const initPatience = 30 * time.Second

// initPage is the memory that the launcher shares with a container's init, and a
// pipe whose other end only init has: it closes when init becomes the command, or
// ends.
type initPage struct {
	shared  *C.struct_init_page
	mem     []byte
	file    *os.File // the memory; passed on as PAGE_FD
	passed  *os.File // the pipe's end for init; passed on next
	pipe    *os.File
	cgroups []string

	patience time.Duration // with a step of init's that takes well under a millisecond on an idle machine
}

// newInitPage makes a page for an init that is to join the cgroups and to become the
// command, with room for a program of so many instructions.
func newInitPage(instructions int, cgroups, args, env []string) (_ *initPage, err error) {
	if instructions > maxInstructions {
		return nil, fmt.Errorf("seccomp filter: %d instructions, the kernel takes %d", instructions, maxInstructions)
	}
	var text []byte
	for _, s := range slices.Concat(cgroups, args, env) {
		if strings.ContainsRune(s, 0) {
			return nil, fmt.Errorf("%q has a NUL byte, which ends an argument (execve(2))", s)
		}
		text = append(append(text, s...), 0)
	}
	p := &initPage{cgroups: cgroups, patience: initPatience}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	begin := int(C.sizeof_struct_init_page) + instructions*sizeofInstruction
	if err := p.alloc(begin + len(text)); err != nil {
		return nil, err
	}
	copy(p.mem[begin:], text)
	p.shared.strings = C.uint32_t(begin)
	p.shared.cgroups = C.uint32_t(len(cgroups))
	p.shared.args = C.uint32_t(len(args))
	p.shared.env = C.uint32_t(len(env))
	p.pipe, p.passed, err = os.Pipe()
	return p, err
}

func (p *initPage) alloc(size int) error {
	fd, err := unix.MemfdCreate("minirun-init", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	p.file = os.NewFile(uintptr(fd), "minirun-init")
	if err := p.file.Truncate(int64(size)); err != nil {
		return err
	}
	if p.mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	p.shared = (*C.struct_init_page)(unsafe.Pointer(unsafe.SliceData(p.mem)))
	return nil
}

// files are what init gets of it, with the others that it is to pass on.
func (p *initPage) files(others ...*os.File) []*os.File {
	files := append([]*os.File{p.file, p.passed}, others...)
	p.shared.files = C.uint32_t(len(files))
	return files
}

// outlives tells init, which has not been started, whether to live on when this
// process ends.
func (p *initPage) outlives(yes bool) {
	if yes {
		p.shared.outlives = 1
	}
}

func (p *initPage) Close() error {
	var err error
	if p.mem != nil {
		err = unix.Munmap(p.mem)
	}
	for _, f := range []*os.File{p.file, p.passed, p.pipe} {
		if f != nil {
			f.Close()
		}
	}
	return err
}

func (p *initPage) state() uint32 {
	return atomic.LoadUint32((*uint32)(&p.shared.state))
}

// enter goes on to a state and wakes init's threads, whichever wait.
func (p *initPage) enter(state uint32) error {
	atomic.StoreUint32((*uint32)(&p.shared.state), state)
	for _, word := range []*C.uint32_t{&p.shared.state, &p.shared.quiet, &p.shared.asleep} {
		const wake, all = 1, math.MaxInt32 // FUTEX_WAKE of linux/futex.h; not private: init has another mapping
		if _, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), wake, all, 0, 0, 0); errno != 0 {
			return os.NewSyscallError("futex", errno)
		}
	}
	return nil
}

// joined reports whether init is in all of its cgroups.
func (p *initPage) joined() bool {
	return int(p.shared.joined) == len(p.cgroups)
}

// failure is why init gave up, or nil.
func (p *initPage) failure() error {
	if p.state() != C.PAGE_FAILED {
		return nil
	}
	errno := unix.Errno(p.shared.error)
	switch p.shared.step {
	case C.STEP_JOIN:
		return &Error{
			Op: "join the cgroup " + p.cgroups[p.shared.joined], Err: errno,
			Help: "'minirun doctor' says what this machine has of cgroups",
		}
	case C.STEP_FILTER:
		return &Error{Op: "arm the seccomp filter", Err: errno}
	case C.STEP_THREADS:
		return &Error{Op: "start container", Err: fmt.Errorf("end init's threads: %w", errno)}
	case C.STEP_FILES:
		return &Error{Op: "start container", Err: fmt.Errorf("close init's files: %w", errno)}
	default:
		return &execError{path: C.GoString(&p.shared.path[0]), errno: errno}
	}
}

// execError is an execve(2) of the command that failed, or a command that went away.
type execError struct {
	path  string // in the container, relative to its working directory
	errno unix.Errno
}

func (e *execError) Error() string { return fmt.Sprintf("exec %s: %v", e.path, e.errno) }

// waitParked returns once init is in its cgroups, and ready for its filter and its
// command.
func (p *initPage) waitParked() error {
	err := p.wait("container init does not get ready", p.patience, func() bool { return p.state() == C.PAGE_PARKED })
	if err == nil && !p.joined() {
		return errors.New("its init did not join its cgroups")
	}
	return err
}

// arm has all threads of a parked init put under the program.
func (p *initPage) arm(program []unix.SockFilter, flags uint32) error {
	if s := p.state(); s != C.PAGE_PARKED {
		return fmt.Errorf("container init is not ready (state %d)", s)
	}
	p.shared.flags = C.uint32_t(flags)
	p.shared.length = C.uint32_t(len(program))
	copy(p.mem[C.sizeof_struct_init_page:], unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(program))), len(program)*sizeofInstruction))
	if err := p.enter(C.PAGE_GO); err != nil {
		return err
	}
	return p.wait("the arming thread does not answer", p.patience, func() bool { return p.state() == C.PAGE_ARMED })
}

// run has init become the command. It returns once that is so; an [*execError] says
// that it could not be. How long the command's file takes to read is not known: the
// wait ends only with init.
func (p *initPage) run() error {
	atomic.StoreUint32((*uint32)(&p.shared.quiet), 1)
	if err := p.enter(C.PAGE_RUN); err != nil {
		return err
	}
	err := p.wait("", math.MaxInt64, func() bool { return false })
	if errors.Is(err, errInitDied) && p.state() == C.PAGE_EXEC {
		return nil // it has become the command, which may have ended since
	}
	return err
}

var errInitDied = errors.New("container init died")

// wait asks done until it says yes, init fails or is gone, or patience is over. Init cannot wake us: from the moment that the filter is
// there, what it may call is the profile's decision. So there are pauses, of an
// eighth of the time that it has waited, from 20 µs to 1 ms. The thread itself
// pauses: time.Sleep would hand over to another thread, which for a goroutine that
// is locked to its own takes longer than the pause.
func (p *initPage) wait(what string, patience time.Duration, done func() bool) error {
	for begin := time.Now(); ; {
		if err := p.failure(); err != nil {
			return err
		}
		if done() {
			return nil
		}
		waited := time.Since(begin)
		if waited > patience {
			return errors.New(what)
		}
		closed, err := p.closed(min(max(waited/8, 20*time.Microsecond), time.Millisecond))
		if err != nil {
			return err
		}
		if !closed {
			continue
		}
		return cmp.Or(p.failure(), errInitDied)
	}
}

// closed waits for the pipe to close.
func (p *initPage) closed(patience time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(p.pipe.Fd()), Events: unix.POLLIN}}
	timeout := unix.NsecToTimespec(patience.Nanoseconds())
	_, err := unix.Ppoll(fds, &timeout, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, os.NewSyscallError("ppoll", err)
	}
	return fds[0].Revents&unix.POLLHUP != 0, nil
}

// started is called once libcontainer has started init, or failed to. From now on
// the pipe's end is init's only. The process from which init joined is ended and
// waited for: nobody needs it any more, and libcontainer does not know of it.
func (p *initPage) started() {
	p.passed.Close()
	pid := int(p.shared.forked)
	if pid == 0 {
		return
	}
	_ = unix.Kill(pid, unix.SIGKILL) // it has ended, or is about to
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
