package launcher

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/config"
)

// send passes the signal got on to PID 1, as the signal passed, unless the flags
// keep it back. After SIGTERM they may set a time for SIGKILL.
func (s *Relay) send(init *initProcess, passed, got unix.Signal, p config.Signals) error {
	switch {
	case p.Keep && !asksForEnd(got):
		return nil
	case p.Keep:
		s.killedBy.Store(int32(got))
		return init.signal(unix.SIGKILL)
	case got == unix.SIGTERM && p.KillAtAll:
		time.AfterFunc(p.KillAfter, func() { _ = init.signal(unix.SIGKILL) }) // it may have ended
	}
	return init.signal(passed)
}
