package launcher

/*
#include "signals.h"
*/
import "C"

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// signals passes what reaches the launcher on to the container's PID 1, as
// `docker run` does: every signal that can be caught but SIGCHLD and SIGPIPE,
// which are about the launcher itself, and those that the Go runtime needs. PID
// 1 has Linux's protection: a signal that it has no handler for does nothing
// (pid_namespaces(7)).
//
// The signals are the process's: one of these may be in use at a time.
type signals struct {
	ch chan unix.Signal
}

func catchSignals() (*signals, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	s := &signals{ch: make(chan unix.Signal, 128)}
	go s.read(os.NewFile(uintptr(pipe[0]), "signals"))
	if errno := C.signals_catch(C.int(pipe[1])); errno != 0 {
		s.stop()
		return nil, os.NewSyscallError("sigaction", unix.Errno(errno))
	}
	return s, nil
}

// read turns the handler's bytes into values.
func (s *signals) read(r *os.File) {
	numbers := make([]byte, 128)
	for {
		n, err := r.Read(numbers)
		if err != nil {
			return
		}
		for _, number := range numbers[:n] {
			s.ch <- unix.Signal(number)
		}
	}
}

// stop gives the signals back to whom they had. The pipe stays open: on another
// thread the handler may still be at it, and must not write to what has got its
// number next.
func (s *signals) stop() { C.signals_release() }

// pendingEnd takes the signals that came before there was a container to send
// them to. It gives the number of one that asks for the end, else 0.
func (s *signals) pendingEnd() int {
	for {
		select {
		case sig := <-s.ch:
			switch sig {
			case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
				return int(sig)
			}
		default:
			return 0
		}
	}
}

// forward sends signals on. A change of the terminal's size is made
// known by setting the container's.
func (s *signals) forward(process *libcontainer.Process, streams *streams) {
	for sig := range s.ch {
		if sig == unix.SIGWINCH {
			streams.resize()
			continue
		}
		_ = process.Signal(sig) // the process may have just ended: then there is nobody to tell
	}
}
