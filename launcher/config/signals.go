package config

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signals says what becomes of the signals that reach minirun. Its zero value
// passes all on.
type Signals struct {
	Keep      bool          // none is passed on, and one that asks for minirun's end ends the container
	KillAfter time.Duration // if SIGTERM has not ended the container by then, SIGKILL does
	KillAtAll bool          // whether KillAfter holds
}

func (p *flagParser) signals() error {
	s := &p.c.Signals
	s.Keep = p.value("sig-proxy") == "false"
	if text := p.value("stop-signal"); text != "" {
		p.c.StopSignal = text
		if _, err := ParseSignal(text); err != nil {
			return refuse("stop-signal", text, "write a name or number of signal(7), for example SIGQUIT", "%w", err)
		}
	}
	if text, given := p.text("stop-timeout"); given {
		seconds, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return refuse("stop-timeout", text, "write how many seconds; -1 is no limit", "not a number")
		}
		s.KillAtAll, s.KillAfter = seconds >= 0, time.Duration(seconds)*time.Second
	}
	return nil
}

// attach reads -a, which names the streams that are not to be left out.
func (p *flagParser) attach() error {
	names := p.list("attach")
	for i, name := range names {
		names[i] = strings.ToLower(name)
		if !slices.Contains([]string{"stdin", "stdout", "stderr"}, names[i]) {
			return refuse("attach", name, "use stdin, stdout or stderr", "no such stream")
		}
	}
	p.c.DropStdout = len(names) > 0 && !slices.Contains(names, "stdout")
	p.c.DropStderr = len(names) > 0 && !slices.Contains(names, "stderr")
	return nil
}
