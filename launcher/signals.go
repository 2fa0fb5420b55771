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

// Relay passes signals of the launcher on to the container's PID 1, as `docker run` does:
// every signal that can be caught, except SIGCHLD and SIGPIPE, which are about the launcher
// itself, and those that the Go runtime needs. A signal that PID 1 has no handler for does
// nothing (pid_namespaces(7)). SIGTERM asks for the end, as `docker stop` does: if the image
// has a STOPSIGNAL, PID 1 gets that instead.
//
// A relay should exist for the whole of a launch. Before PID 1 exists, a signal that asks
// for the end ends the start. Once PID 1 has ended, signals do not end the launcher, so it
// always removes what it has made. A process can use one relay at a time.
type Relay struct {
	pipe  *os.File         // the handler writes the numbers of signals to it
	ended chan unix.Signal // a signal that asked for the end after PID 1 had ended
	// killedBy is the signal that ended the container without being passed on, or 0.
	killedBy atomic.Int32
}

// NewRelay catches the signals until [Relay.Stop].
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

// read returns the signals that have come, and does not wait.
func (s *Relay) read() []byte {
	numbers := make([]byte, 128)
	n := 0
	if raw, err := s.pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), numbers) })
	}
	return numbers[:max(n, 0)]
}

// wait waits for a signal, for patience at most.
func (s *Relay) wait(patience time.Duration) {
	if raw, err := s.pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		})
	}
}

// outcome returns what a launch ends with: status and err, unless a signal has ended the
// container without being passed on.
func (s *Relay) outcome(i *interrupts, status int, err error) (int, error) {
	if i.done() {
		i.report()
	}
	if sig := s.killedBy.Load(); sig != 0 {
		return 128 + int(sig), nil
	}
	return status, err
}

// Stop restores the dispositions of all signals. It leaves the pipe open: the handler may
// still run on another thread, and must not write to a file that reuses the number.
func (s *Relay) Stop() {
	C.signals_release()
}

// pendingEnd takes the signals that came before there was a container to send them to. It
// returns the first that asks for the end, else 0. It waits for patience at most for a signal
// that is still on its way.
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

// forward passes signals on to PID 1, SIGTERM as the signal stop, unless policy says
// otherwise. For SIGWINCH it resizes the container's terminal. A signal that asks for the
// end after PID 1 has ended is sent to s.ended: the launcher may still be waiting for a
// reader of its output.
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

// pass is forward for one signal. It returns false if that has been sent to s.ended.
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
