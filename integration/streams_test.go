package integration

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// becomes waits until a process runs a program.
func becomes(t *testing.T, pid int, program string) {
	t.Helper()
	eventually(t, "PID 1 becomes "+program, func() bool {
		comm, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm") // it may not have begun
		return string(comm) == program+"\n"
	})
}

// The output ends with the container, even if a process of the host has it open. All that
// was written before is passed on.
func TestOutputHeldOpen(t *testing.T) {
	for name, flags := range map[string][]string{"pipe": nil, "terminal": {"-t"}} {
		t.Run(name, func(t *testing.T) {
			c := launch(t, flags, "sh", "-c", "echo ready; exec sleep 1000")
			held, err := os.OpenFile("/proc/"+strconv.Itoa(c.pid1)+"/fd/1", os.O_WRONLY|syscall.O_NOCTTY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			if err := syscall.Kill(c.pid1, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the launcher ends", func() bool { return gone(c.pid1) && zombie(c.Process.Pid) })
			wantStatus(t, c.Cmd, 137)
		})
	}
}

// zombie reports whether a child of this process has ended.
func zombie(pid int) bool {
	stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return bytes.Contains(stat, []byte(") Z "))
}

// pending reports whether a process has a pending signal.
func pending(pid int, signal syscall.Signal) bool {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status") // of a process that has ended
	_, rest, _ := strings.Cut(string(status), "ShdPnd:")
	line, _, _ := strings.Cut(rest, "\n")
	mask, _ := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return mask&(1<<(signal-1)) != 0
}

// A launcher can be ended even if its container has ended and nobody reads its output.
func TestTerminateWhileOutputWaits(t *testing.T) {
	// It writes once its PID 1 is known. Nobody reads that.
	c := launch(t, nil, "sh", "-c", `trap "exec head -c 100000 /dev/zero" USR1; echo ready; sleep 60 & wait`)
	if err := c.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command ends", func() bool { return gone(c.pid1) })
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the launcher ends", func() bool { return zombie(c.Process.Pid) })
	wantStatus(t, c.Cmd, 143)
	if got := c.stderr.String(); got != "minirun: write the output: terminated before all was read\n" {
		t.Errorf("it said %q", got)
	}
	wantNothing(t, c)
}

// Signals that come while a launch ends, or after it, do not change its status.
func TestSignalsAtTheEnd(t *testing.T) {
	for range 10 {
		c := launch(t, nil, "sh", "-c", `trap "" HUP; trap "exit 7" USR1; echo ready; while :; do sleep 0.01; done`)
		if err := c.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the launcher ends", func() bool {
			for range 1000 { // without a pause: the moment is short
				_ = c.Process.Signal(syscall.SIGHUP) // it may have ended
			}
			return zombie(c.Process.Pid)
		})
		wantStatus(t, c.Cmd, 7)
		wantNothing(t, c)
	}
}

// The third ^C within a second kills a PID 1 that ignores it.
func TestThirdInterrupt(t *testing.T) {
	for name, flags := range map[string][]string{"terminal": {"-it"}, "pipes": {"-i"}} {
		t.Run(name, func(t *testing.T) {
			term := newTerminal(t, append(flags, "debian", "sh", "-c", "echo re''ady; exec sleep 1000")...)
			term.wait("ready")
			becomes(t, pid1(t, term.Process.Pid), "sleep")
			if name == "pipes" {
				term.send("\x03")
				term.wait(" interrupt: the command runs as PID 1 and has no handler for SIGINT")
				term.wait(" press ^C three times")
			}
			// Three within a second: on a slow machine it may take more of them.
			eventually(t, "the launcher ends", func() bool {
				before := strings.Count(term.text(), "^C")
				term.send("\x03")
				eventually(t, "the launcher takes the signal", func() bool {
					return strings.Count(term.text(), "^C") > before && !pending(term.Process.Pid, syscall.SIGINT) || zombie(term.Process.Pid)
				})
				return zombie(term.Process.Pid)
			})
			wantStatus(t, term.Cmd, 137)
			term.wait(" killed the container: ")
			term.wait(" --init ")
			if after := term.mode(); after != term.before {
				t.Errorf("the mode was not restored:\nbefore %+v\nafter  %+v", term.before, after)
			}
		})
	}
}

// A command that handles ^C, or reads it as a character, is not killed. It is perl: a
// shell may lose a SIGINT that arrives while it waits for a child.
func TestInterruptsHandled(t *testing.T) {
	const perl = `$| = 1; $SIG{INT} = sub { print "int\n"; exit 9 if ++$n == 3 }; print "ready\n"; select(undef, undef, undef, 0.1) while 1`
	for name, tt := range map[string]struct {
		flags  []string
		script string
		count  int // of the ^C that the script sees
	}{
		"PID 1":               {[]string{"-it"}, perl, 3},
		"PID 1, no terminal":  {[]string{"-i"}, perl, 3},
		"a child of PID 1":    {[]string{"-it"}, "perl -e '" + perl + "'; exit $?", 3},
		"a raw terminal":      {[]string{"-it"}, `stty raw -echo; echo re''ady; head -c 4 | tr '\003\n' 'cn'; exit 9`, 0},
		"--init, no terminal": {[]string{"-i", "--init"}, perl, 3},
	} {
		t.Run(name, func(t *testing.T) {
			interpreter := []string{"bash", "-c"}
			if tt.script == perl {
				interpreter = []string{"perl", "-e"}
			}
			term := newTerminal(t, slices.Concat(tt.flags, []string{"debian"}, interpreter, []string{tt.script})...)
			term.wait("ready")
			for i := range 3 {
				term.send("\x03")
				if tt.count > 0 {
					eventually(t, "the ^C arrives", func() bool { return strings.Count(term.text(), "int\r\n") > i })
				}
			}
			if tt.count == 0 {
				term.send("\n")
			}
			eventually(t, "the launcher ends", func() bool { return zombie(term.Process.Pid) })
			wantStatus(t, term.Cmd, 9)
			if strings.Contains(term.text(), "minirun:") {
				t.Errorf("the terminal shows %q", term.text())
			}
		})
	}
}
