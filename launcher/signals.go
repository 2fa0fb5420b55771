package launcher

/*
#include "signals.h"
*/
import "C"

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
)

// Relay passes what reaches the launcher on to the container's PID 1, as
// `docker run` does: every signal that can be caught, except SIGCHLD and SIGPIPE,
// which are about the launcher itself, and those that the Go runtime needs. PID
// 1 has Linux's protection: a signal that it has no handler for does nothing
// (pid_namespaces(7)). SIGTERM asks for the end, as `docker stop` does: PID 1
// gets the image's STOPSIGNAL instead, where there is one.
//
// A relay is meant to be there for the whole of a launch: before there is a PID 1, a
// signal that asks for the end ends the start, and once PID 1 has ended, signals do
// nothing, so that what the launch has made is always removed. The signals are the
// process's: one relay may be in use at a time.
type Relay struct {
	pipe  *os.File         // the numbers of signals that have come
	ended chan unix.Signal // one that asks for the end of a container that has ended
	// killedBy is the signal that ended the container though it was not passed on, or 0.
	killedBy atomic.Int32
}

// NewRelay catches the signals, until [Relay.Stop].
func NewRelay() (*Relay, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	s := &Relay{pipe: os.NewFile(uintptr(pipe[0]), "signals"), ended: make(chan unix.Signal, 1)}
	if errno := C.signals_catch(C.int(pipe[1])); errno != 0 {
		s.Stop()
		return nil, os.NewSyscallError("sigaction", unix.Errno(errno))
	}
	return s, nil
}

// read returns what the handler has written, at once; nothing if no signal has come.
func (s *Relay) read() []byte {
	numbers := make([]byte, 128)
	n := 0
	if raw, err := s.pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), numbers) })
	}
	return numbers[:max(n, 0)]
}

// wait waits until a signal has come, but not longer than patience.
func (s *Relay) wait(patience time.Duration) {
	if raw, err := s.pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		})
	}
}

// outcome is what a launch ends with: status and err, unless a signal or ^C has ended
// the container without being passed on.
func (s *Relay) outcome(i *interrupts, status int, err error) (int, error) {
	if i.done() {
		i.report()
	}
	if sig := s.killedBy.Load(); sig != 0 {
		return 128 + int(sig), nil
	}
	return status, err
}

// Stop restores the dispositions of all signals. The pipe stays open: on another
// thread the handler may still be at it, and must not write to what has got its
// number next.
func (s *Relay) Stop() {
	C.signals_release()
}

// pendingEnd takes the signals that came before there was a container to send
// them to. It returns the number of one that asks for the end, else 0. For one that
// may be on its way it waits.
func (s *Relay) pendingEnd(patience time.Duration) int {
	for begin := time.Now(); ; {
		for _, number := range s.read() {
			if asksForEnd(unix.Signal(number)) {
				return int(number)
			}
		}
		left := patience - time.Since(begin)
		if left < time.Millisecond {
			return 0
		}
		s.wait(left)
	}
}

func asksForEnd(sig unix.Signal) bool {
	return sig == unix.SIGINT || sig == unix.SIGTERM || sig == unix.SIGHUP || sig == unix.SIGQUIT
}

// stopSignal returns the signal that asks a container's command to end.
func stopSignal(s *specs.Spec) unix.Signal {
	if sig, err := config.ParseSignal(s.Annotations[spec.StopSignalKey]); err == nil {
		return sig
	}
	return unix.SIGTERM
}

// forward sends signals on to PID 1, SIGTERM as the signal stop, unless policy says
// otherwise. A change of the
// terminal's size is made known by setting the container's. A signal that comes
// when PID 1 has ended is for the launcher, which may still be waiting for a reader
// of its output.
func (s *Relay) forward(init *initProcess, streams *streams, stop unix.Signal, policy config.Signals) {
	numbers := make([]byte, 128)
	for {
		n, err := s.pipe.Read(numbers)
		if err != nil {
			return
		}
		for _, number := range numbers[:n] {
			if !s.pass(unix.Signal(number), init, streams, stop, policy) {
				return
			}
		}
	}
}

// pass is forward for one signal. It returns false if that is for the launcher.
func (s *Relay) pass(sig unix.Signal, init *initProcess, streams *streams, stop unix.Signal, policy config.Signals) bool {
	passed := sig
	switch sig {
	case unix.SIGWINCH:
		streams.resize()
		return true
	case unix.SIGTERM:
		passed = stop
	case unix.SIGINT:
		streams.interrupts.signal(time.Now())
	}
	err := s.send(init, passed, sig, policy)
	if errors.Is(err, unix.ESRCH) && asksForEnd(sig) && !streams.interrupts.done() {
		s.ended <- sig
		return false
	}
	return true
}
