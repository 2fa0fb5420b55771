package launcher

import "time"

// Run creates the container, starts it and waits for its end. The status is the
// command's own, or 128+n when signal n ended it. When the container did not start
// the error is an [Error] with the status to end with. A terminal has its mode back
// when Run returns. The caller deletes the container.
//
// With [Options.Rest] it may not return: the launcher goes on as another program, which
// waits, undoes what Rest says, deletes the container, and ends with the status.
//
// The relay's signals go to the container's PID 1. Those that came before there is
// one end the start.
func (c *Container) Run(o Options, sigs *Relay) (status int, err error) {
	err = c.Create(o)
	var wait time.Duration
	if err != nil {
		wait = 50 * time.Millisecond // at a terminal init has got the signal too, and err may be of that
	}
	if n := sigs.pendingEnd(wait); n != 0 {
		return 128 + n, c.stop()
	}
	if err != nil {
		return 0, err
	}
	l := c.launched
	if l.waits == nil {
		return 0, c.goOnInC(sigs)
	}
	l.hooks = append(l.hooks, hook{"pass signals on", func() error {
		go sigs.forward(l.init, l.streams, stopSignal(o.Spec), o.Signals)
		return nil
	}})
	if err := c.Start(); err != nil {
		return 0, err
	}
	if o.Ready != nil {
		o.Ready()
	}
	status, err = c.wait(sigs.ended)
	return sigs.outcome(l.streams.interrupts, status, err)
}
