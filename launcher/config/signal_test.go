package config

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"SIGTERM": unix.SIGTERM, "TERM": unix.SIGTERM, "sigterm": unix.SIGTERM, "15": unix.SIGTERM,
		"SIGRTMIN": 34, "RTMIN+3": 37, "SIGRTMIN+3": 37, "RTMAX": 64, "sigrtmax-2": 62, "64": 64,
	} {
		if got, err := ParseSignal(text); got != want || err != nil {
			t.Errorf("ParseSignal(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "65", "SIG", "NOSUCH", "SIGSIGTERM", "RTMIN+31", "RTMIN-1", "RTMIN+", "RTMAX-31", "RTMAX+1", "RTMIN3", "15x"} {
		if got, err := ParseSignal(text); err == nil {
			t.Errorf("ParseSignal(%q) = %d", text, got)
		}
	}
}
