package launcher

// Run creates the container, starts it and waits for its end. The status is the
// command's own, or 128+n when signal n ended it. When the container did not start
// the error is an [Error] with the status to end with. A terminal has its mode back
// when Run returns. The caller deletes the container.
//
// Signals that reach the caller while Run runs go to the container's PID 1; see
// [signals]. Before there is one they end the start.
func (c *Container) Run(o Options) (status int, err error) {
	sigs, err := catchSignals()
	if err != nil {
		return 0, err
	}
	defer sigs.stop()
	err = c.Create(o)
	if n := sigs.pendingEnd(); n != 0 { // at a terminal init has got the signal too: err is of that
		return 128 + n, c.stop()
	}
	if err != nil {
		return 0, err
	}
	l := c.launched
	l.hooks = append(l.hooks, hook{"pass signals on", func() error {
		go sigs.forward(l.init, l.streams, stopSignal(o.Spec), o.Signals)
		return nil
	}})
	if err := c.Start(); err != nil {
		return 0, err
	}
	status, err = c.wait(sigs.ended)
	return sigs.outcome(l.streams.interrupts, status, err)
}
