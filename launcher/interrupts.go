package launcher

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// interrupts kills a container that ignores ^C when it is pressed for the third
// time within a second. Most programs do ignore it as PID 1: there the kernel
// drops signals without a handler (pid_namespaces(7)).
type interrupts struct {
	init *initProcess
	warn func(error)

	mu     sync.Mutex
	last   [2]time.Time
	killed bool
	warned bool
}

const (
	interruptsWithin = 1200 * time.Millisecond
	ignoredAfter     = 200 * time.Millisecond
)

// signal is called before PID 1 is sent SIGINT: just after it what waits for signals
// looks like what ignores them.
func (i *interrupts) signal(now time.Time) {
	if handles(i.init.pid, unix.SIGINT) {
		return
	}
	if !i.press(now) && !i.warned {
		i.warned = true
		go i.warnIfIgnored()
	}
}

// warnIfIgnored waits for what the signal does. A command that has just begun has
// its handlers in a moment, or has ended.
func (i *interrupts) warnIfIgnored() {
	if i.init.endsWithin(ignoredAfter) || handles(i.init.pid, unix.SIGINT) {
		return
	}
	i.warn(&Error{Op: "interrupt", Err: errIgnored, Cause: CauseIgnored})
}

// typed is called before ^C is typed on the container's terminal.
func (i *interrupts) typed(terminal *os.File, now time.Time) {
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	if err == nil && (group == 0 || group == i.init.pid && !groupHandles(group, unix.SIGINT)) {
		i.press(now)
	}
}

// press counts one more ^C, and reports whether it was the one too many.
func (i *interrupts) press(now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	third := now.Sub(i.last[0]) <= interruptsWithin
	i.last[0], i.last[1] = i.last[1], now
	if third && !i.killed {
		i.killed = i.init.signal(unix.SIGKILL) == nil
	}
	return i.killed
}

var errIgnored = errors.New("the command runs as PID 1 and has no handler for SIGINT, so ^C does nothing")

// done reports whether the container was killed.
func (i *interrupts) done() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.killed
}

// report says why the container was killed.
func (i *interrupts) report() {
	i.warn(&Error{Op: "killed the container", Err: errIgnored, Cause: CauseIgnoredTwice})
}

// keyboard is the user's input to a terminal. It watches for ^C.
type keyboard struct {
	io.Reader
	s *streams
}

func (k keyboard) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	if n == 0 {
		return n, err
	}
	mode, merr := unix.IoctlGetTermios(int(k.s.master.Fd()), unix.TCGETS)
	if merr == nil && mode.Lflag&unix.ISIG != 0 && mode.Cc[unix.VINTR] != 0 {
		for range bytes.Count(p[:n], mode.Cc[unix.VINTR:unix.VINTR+1]) {
			k.s.interrupts.typed(k.s.master, time.Now())
		}
	}
	return n, err
}

// groupHandles reports whether a process of the group handles a signal, or whether
// that cannot be found out.
func groupHandles(group int, signal unix.Signal) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return true
	}
	for _, file := range stats {
		stat, _ := os.ReadFile(file) // of a process that has ended
		_, fields, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(fields); len(f) < 3 || f[2] != strconv.Itoa(group) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err != nil || handles(pid, signal) {
			return true
		}
	}
	return false
}

// handles reports whether a process catches a signal, or blocks it, as those do that
// wait for it in another way (proc_pid_status(5)); or whether it is in sigwaitinfo(2),
// where what it waits for does not show as blocked. The two are not read at the same
// moment, so a process that seems to ignore the signal is looked at again.
func handles(pid int, signal unix.Signal) bool {
	for range 3 {
		if waitsForSignals(pid) || catches(pid, signal) {
			return true
		}
	}
	return false
}

// waitsForSignals reports whether a process is in sigwaitinfo(2), or whether that
// cannot be found out.
func waitsForSignals(pid int) bool {
	call, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/syscall") // proc_pid_syscall(5)
	return err != nil || bytes.HasPrefix(call, []byte(strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT)+" "))
}

// catches reports whether a process has a handler for a signal or blocks it, or
// whether that cannot be found out, as when it has ended.
func catches(pid int, signal unix.Signal) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "State":
			if value[0] == 'Z' || value[0] == 'X' {
				return true
			}
		case "SigCgt", "SigBlk":
			mask, err := strconv.ParseUint(value, 16, 64)
			if err != nil || mask&(1<<(signal-1)) != 0 {
				return true
			}
		}
	}
	return false
}
