package launcher

import (
	"net"

	"golang.org/x/sys/unix"
)

// observedFilter is a filter whose notifications this process answers.
type observedFilter struct {
	program []unix.SockFilter
	flags   uint32
}

// observeOthers has this process answer the notifications of the filter, which it answers for
// the container, also for commands that others run in that: they install the same filter,
// and pass its listener on ([Container.Enter], [Container.Observe]). A container of an
// engine's has a supervisor for this.
func (c *Container) observeOthers(l *launched, filter observedFilter) error {
	if l.o.Engine != nil {
		return nil
	}
	socket, err := c.listenForFilters()
	if err != nil {
		return err
	}
	defer socket.Close()
	listener, err := net.FileListener(socket)
	if err != nil {
		return err
	}
	l.others = &supervision{o: l.o, init: l.init, filters: listener.(*net.UnixListener)}
	one := l.others.oneByOne() // the container's own observer is one more of them
	l.o.Observe, l.observed = &one, filter
	l.others.accept()
	return nil
}

// end ends what observeOthers has begun. What others run may go on, and gets ENOSYS for what
// the filter asks about.
func (s *supervision) end() error {
	if s == nil {
		return nil
	}
	s.filters.Close()
	<-s.accepted
	for _, w := range s.observers {
		s.note(w.stop())
	}
	s.answering.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.err
	s.err = nil // it is called more than once
	return err
}
