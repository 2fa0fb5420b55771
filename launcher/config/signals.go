package config

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signals says which signals minirun passes on to the container. The zero value
// passes on all.
type Signals struct {
	Keep      bool          // none is passed on, and one that would end minirun ends the container
	KillAfter time.Duration // from SIGTERM to SIGKILL
	KillAtAll bool          // whether KillAfter applies

	StopSeconds *int // --stop-timeout as it was given, or nil
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
		seconds, err := strconv.ParseInt(text, 0, 32)
		if err != nil {
			return refuse("stop-timeout", text, "write a number of seconds; -1 is no limit", "not a number")
		}
		given := int(seconds)
		s.StopSeconds = &given
		s.KillAtAll, s.KillAfter = seconds >= 0, time.Duration(seconds)*time.Second
	}
	return nil
}

// attach reads -a, which names the streams that are passed on.
func (p *flagParser) attach() error {
	names := slices.Clone(p.list("attach")) // the flags stay as they were given
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
