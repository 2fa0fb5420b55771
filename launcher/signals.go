package launcher

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// signals passes what reaches the launcher on to the container's PID 1, as
// `docker run` does: every signal that can be caught but SIGCHLD and SIGPIPE,
// which are about the launcher itself, and SIGURG, which the Go runtime sends
// itself. PID 1 has Linux's protection: a signal that it has no handler for does
// nothing (pid_namespaces(7)).
type signals struct {
	ch chan os.Signal
}

func catchSignals() *signals {
	s := &signals{ch: make(chan os.Signal, 128)}
	signal.Notify(s.ch)
	return s
}

func (s *signals) stop() { signal.Stop(s.ch) }

// pendingEnd takes the signals that came before there was a container to send
// them to. It gives the number of one that asks for the end, else 0.
func (s *signals) pendingEnd() int {
	for {
		select {
		case sig := <-s.ch:
			switch sig {
			case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
				return int(sig.(syscall.Signal))
			}
		default:
			return 0
		}
	}
}

// forward sends signals on until the channel is no longer fed. A change of the
// terminal's size is made known by setting the container's.
func (s *signals) forward(process *libcontainer.Process, streams *streams) {
	for sig := range s.ch {
		switch sig {
		case unix.SIGURG, unix.SIGCHLD, unix.SIGPIPE:
		case unix.SIGWINCH:
			streams.resize()
		default:
			_ = process.Signal(sig) // the process may have just ended: then there is nobody to tell
		}
	}
}
