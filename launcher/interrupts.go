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

// interrupts kills a container that ignores ^C when ^C is pressed for the third time
// within a second. Most programs ignore it as PID 1: the kernel drops the signals for
// which PID 1 has no handler (pid_namespaces(7)).
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

// signal is called before PID 1 is sent SIGINT. Just after the signal, a process that
// waits for signals looks like one that ignores them.
func (i *interrupts) signal(now time.Time) {
	if handles(i.init.pid, unix.SIGINT) {
		return
	}
	if !i.press(now) && !i.warned {
		i.warned = true
		go i.warnIfIgnored()
	}
}

// warnIfIgnored warns if the signal had no effect. It waits first: a command that has
// just begun may soon have its handlers, or end.
func (i *interrupts) warnIfIgnored() {
	if i.init.endsWithin(ignoredAfter) || handles(i.init.pid, unix.SIGINT) {
		return
	}
	i.warn(ignored())
}

// typed is called before ^C is typed on the container's terminal.
func (i *interrupts) typed(terminal *os.File, now time.Time) {
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	if err == nil && (group == 0 || group == i.init.pid && !groupHandles(group, unix.SIGINT)) {
		i.press(now)
	}
}

// press counts a ^C, and reports whether the container has been killed.
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
	i.warn(ignoredTwice())
}

// ignored is the warning of a ^C without effect, and ignoredTwice that of the next, which
// has killed the container.
func ignored() error { return &Error{Op: "interrupt", Err: errIgnored, Cause: CauseIgnored} }

func ignoredTwice() error {
	return &Error{Op: "killed the container", Err: errIgnored, Cause: CauseIgnoredTwice}
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
// this cannot be found out.
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

// handles reports whether a process catches a signal, blocks it, as a process does
// that waits for it by signalfd(2) (proc_pid_status(5)), or is in sigwaitinfo(2), during
// which a signal that it waits for is not shown as blocked. These are not read at one
// moment, so a process that seems to ignore the signal is looked at again.
func handles(pid int, signal unix.Signal) bool {
	for range 3 {
		if waitsForSignals(pid) || catches(pid, signal) {
			return true
		}
	}
	return false
}

// waitsForSignals reports whether a process is in sigwaitinfo(2), or whether this
// cannot be found out.
func waitsForSignals(pid int) bool {
	call, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/syscall") // proc_pid_syscall(5)
	return err != nil || bytes.HasPrefix(call, []byte(strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT)+" "))
}

// catches reports whether a process has a handler for a signal or blocks it, or
// whether this cannot be found out, for example because it has ended.
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
