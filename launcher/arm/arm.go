package arm

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
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Step is what an init was doing when it failed.
type Step uint32

// The steps of init, in their order.
const (
	StepJoin    Step = C.STEP_JOIN    // join a cgroup
	StepLookup  Step = C.STEP_LOOKUP  // look the command up once more
	StepThreads Step = C.STEP_THREADS // end the Go runtime's threads
	StepFiles   Step = C.STEP_FILES   // close what the command is not to have
	StepFilter  Step = C.STEP_FILTER  // install the filter
	StepExec    Step = C.STEP_EXEC    // execve(2)
	StepPlan    Step = C.STEP_PLAN    // carry out a step of the plan
)

// Error is what init itself says of its failure.
type Error struct {
	Step  Step
	Path  string // StepJoin: the cgroup's directory; StepExec: what could not be run, relative to the working directory; StepPlan: where it failed, or ""
	Errno unix.Errno

	At     int    // StepPlan: the step's index, or -1 before the first
	Reason Reason // StepPlan: 0 where Errno says it
}

func (e *Error) Error() string {
	switch e.Step {
	case StepJoin:
		return fmt.Sprintf("join the cgroup %s: %v", e.Path, e.Errno)
	case StepThreads:
		return fmt.Sprintf("end init's threads: %v", e.Errno)
	case StepFiles:
		return fmt.Sprintf("close init's files: %v", e.Errno)
	case StepFilter:
		return fmt.Sprintf("install the filter: %v", e.Errno)
	case StepPlan:
		return fmt.Sprintf("step %d of the plan: %v", e.At, e.Errno)
	default:
		return fmt.Sprintf("exec %s: %v", e.Path, e.Errno)
	}
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }

// ErrInitDied reports that init ended without saying why.
var ErrInitDied = errors.New("container init died")

// Failure returns why init gave up, an [*Error], or nil.
func (p *Page) Failure() error {
	if p.state() != C.PAGE_FAILED {
		return nil
	}
	e := &Error{Step: Step(p.shared.step), Errno: unix.Errno(p.shared.error)}
	switch e.Step {
	case StepJoin:
		e.Path = p.cgroup(int(p.shared.joined))
	case StepExec, StepLookup:
		e.Path = C.GoString(&p.shared.path[0])
	case StepPlan:
		e.Path = C.GoString(&p.shared.path[0])
		e.At, e.Reason = int(int32(p.shared.at)), Reason(p.shared.reason)
	}
	return e
}

// WaitForHooks returns once init waits for hooks, as its plan says ([Hooks]).
func (p *Page) WaitForHooks() error {
	return p.wait("container init does not get ready for hooks", p.setUp, func() bool {
		return atomic.LoadUint32((*uint32)(&p.shared.hooks)) == C.HOOKS_WAIT
	})
}

// HooksDone lets an init go on that waits for hooks.
func (p *Page) HooksDone() error {
	atomic.StoreUint32((*uint32)(&p.shared.hooks), C.HOOKS_DONE)
	return wake(&p.shared.hooks)
}

// WaitParked returns once init is in its cgroups, and ready for its filter and its
// command.
func (p *Page) WaitParked() error {
	err := p.wait("container init does not get ready", p.setUp, p.awaitParked)
	if err == nil && !p.joined() {
		return errors.New("its init did not join its cgroups")
	}
	return err
}

// awaitParked reports whether init is parked, and waits for that for a while. Until then
// init is under no filter, and wakes us.
func (p *Page) awaitParked() bool {
	const patience = 10 * time.Millisecond // for an init that dies
	for {
		state := p.state()
		if state == C.PAGE_PARKED || state == C.PAGE_FAILED {
			return state == C.PAGE_PARKED
		}
		err := sleep(&p.shared.state, C.uint32_t(state), patience)
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) { // a filter of ours may deny it
			return false
		}
	}
}

// Load puts the program into the page, for [Page.Install]. flags are
// SECCOMP_FILTER_FLAG_*.
func (p *Page) Load(program []unix.SockFilter, flags uint32) {
	p.shared.flags = C.uint32_t(flags)
	p.shared.length = C.uint32_t(len(program))
	copy(p.mem[C.sizeof_struct_init_page:], unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(program))), len(program)*sizeofInstruction))
}

// Loaded reports whether there is a program in the page.
func (p *Page) Loaded() bool { return p.shared.length > 0 }

// Install puts all threads of a parked init under the program in the page. With
// SECCOMP_FILTER_FLAG_NEW_LISTENER (Linux 5.7, since the program is for all threads) it
// returns the listener (seccomp_unotify(2)), taken from init by pidfd_getfd(2), Linux 5.6;
// else nil. The caller closes it.
func (p *Page) Install(pidfd *os.File) (listener *os.File, err error) {
	if s := p.state(); s != C.PAGE_PARKED {
		return nil, fmt.Errorf("container init is not ready (state %d)", s)
	}
	if err := p.enter(C.PAGE_GO, &p.shared.state); err != nil {
		return nil, err
	}
	if err := p.wait("the arming thread does not answer", p.patience, func() bool { return p.state() == C.PAGE_ARMED }); err != nil {
		return nil, err
	}
	if p.shared.flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
		return nil, nil
	}
	listener, err = takeFile(pidfd, int(p.shared.listener), "seccomp listener")
	if err != nil {
		return nil, fmt.Errorf("take the filter's listener: %w", err)
	}
	return listener, nil
}

// Exec tells init to become the command; WaitExec waits until it has.
func (p *Page) Exec() error {
	atomic.StoreUint32((*uint32)(&p.shared.quiet), 1)
	return p.enter(C.PAGE_RUN, &p.shared.quiet, &p.shared.asleep)
}

// WaitExec returns once init has become the command. An [*Error] says that it could not.
// There is no time limit, since reading the command's file may take any time.
func (p *Page) WaitExec() error {
	err := p.wait("", math.MaxInt64, func() bool { return false })
	if errors.Is(err, ErrInitDied) && p.state() == C.PAGE_EXEC {
		return nil // it has become the command, which may have ended since
	}
	return err
}

// wait asks done until it reports true, init fails or is gone, or patience is over. Init
// cannot wake us: once the filter is installed, what it may call is the profile's decision.
// So wait polls, with pauses of an eighth of the time that it has waited: from 20 µs to 1
// ms, and up to 10 ms once many starts keep the machine busy. The thread itself pauses:
// time.Sleep would hand over to another thread, which for a goroutine that is locked to its
// own takes longer than the pause.
func (p *Page) wait(what string, patience time.Duration, done func() bool) error {
	for begin := time.Now(); ; {
		if err := p.Failure(); err != nil {
			return err
		}
		if done() {
			return nil
		}
		waited := time.Since(begin)
		if waited > patience {
			return errors.New(what)
		}
		longest := time.Millisecond
		if waited > 100*longest {
			longest *= 10
		}
		closed, err := p.closed(min(max(waited/8, 20*time.Microsecond), longest))
		if err != nil {
			return err
		}
		if !closed {
			continue
		}
		return cmp.Or(p.Failure(), ErrInitDied)
	}
}

// closed waits for the pipe to close.
func (p *Page) closed(patience time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(p.pipe.Fd()), Events: unix.POLLIN}}
	timeout := unix.NsecToTimespec(patience.Nanoseconds())
	_, err := unix.Ppoll(fds, &timeout, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, os.NewSyscallError("ppoll", err)
	}
	return fds[0].Revents&unix.POLLHUP != 0, nil
}
