package config

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Real-time signals as glibc numbers them: it uses the first two itself.
const (
	rtMin = 34
	rtMax = 64
)

// ParseSignal reads a signal as Docker does: SIGTERM, TERM, 15, RTMIN+3 or
// RTMAX-2, in either case.
func ParseSignal(text string) (unix.Signal, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	number := int(unix.SignalNum("SIG" + name))
	if n, err := strconv.Atoi(text); err == nil {
		number = n
	} else if rest, ok := strings.CutPrefix(name, "RTMIN"); ok {
		number = rtMin + offset(rest, '+')
	} else if rest, ok := strings.CutPrefix(name, "RTMAX"); ok {
		number = rtMax - offset(rest, '-')
	}
	realTime := strings.HasPrefix(name, "RT")
	if number < 1 || number > rtMax || realTime && number < rtMin {
		return 0, fmt.Errorf("%q is no signal", text)
	}
	return unix.Signal(number), nil
}

// offset reads the text after RTMIN or RTMAX: nothing, or the sign and a number. It
// returns a number that is out of range for anything else.
func offset(text string, sign byte) int {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text[1:], 10, 8)
	if err != nil || text[0] != sign {
		return rtMax
	}
	return int(n)
}
