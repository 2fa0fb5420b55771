package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with a minirun on it.
type terminal struct {
	*exec.Cmd
	t      *testing.T
	master console.Console
	slave  *os.File
	before unix.Termios

	mu     sync.Mutex
	screen bytes.Buffer
}

func newTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	return openTerminal(t, minirun(t, args...))
}

// openTerminal starts a command on a pseudo-terminal.
func openTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{Cmd: cmd, t: t, master: master, slave: slave}
	t.Cleanup(func() {
		_ = term.Process.Kill()
		_ = term.Wait()
		slave.Close()
		master.Close()
	})
	if err := master.Resize(console.WinSize{Height: 33, Width: 77}); err != nil {
		t.Fatal(err)
	}
	term.before = term.mode()
	term.before.Lflag |= unix.NOFLSH // a ^C does not discard what is not read yet
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, &term.before); err != nil {
		t.Fatal(err)
	}
	term.Stdin, term.Stdout, term.Stderr = slave, slave, slave
	if term.SysProcAttr == nil {
		term.SysProcAttr = &syscall.SysProcAttr{}
	}
	term.SysProcAttr.Setsid, term.SysProcAttr.Setctty = true, true
	if err := term.Start(); err != nil {
		t.Fatal(err)
	}
	go term.watch()
	return term
}

func (term *terminal) watch() {
	buf := make([]byte, 4096)
	for {
		n, err := term.master.Read(buf)
		if err != nil {
			return
		}
		term.mu.Lock()
		term.screen.Write(buf[:n])
		term.mu.Unlock()
	}
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.screen.String()
}

func (term *terminal) mode() unix.Termios {
	term.t.Helper()
	mode, err := unix.IoctlGetTermios(int(term.slave.Fd()), unix.TCGETS)
	if err != nil {
		term.t.Fatal(err)
	}
	return *mode
}

func (term *terminal) send(text string) {
	term.t.Helper()
	if _, err := term.master.Write([]byte(text)); err != nil {
		term.t.Fatal(err)
	}
}

func (term *terminal) wait(want string) {
	term.t.Helper()
	defer func() {
		if term.t.Failed() {
			term.t.Logf("the terminal shows %q", term.text())
		}
	}()
	eventually(term.t, fmt.Sprintf("%q on the terminal", want), func() bool { return strings.Contains(term.text(), want) })
}

// isLeft waits until the keys to detach have ended the command at the terminal.
func (term *terminal) isLeft() {
	term.t.Helper()
	term.wait("read escape sequence")
	wantStatus(term.t, term.Cmd, 1)
	if term.mode() != term.before {
		term.t.Error("the terminal has another mode")
	}
}

func TestTerminal(t *testing.T) {
	term := newTerminal(t, "-it", "-e", "PS1=> ", "debian", "bash", "--norc")
	term.wait("> ")
	if raw := term.mode(); raw == term.before || raw.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 {
		t.Errorf("the terminal is not raw: %+v", raw)
	}
	term.send("stty size; tty\n")
	term.wait("33 77\r\n/dev/pts/0\r\n")

	// A change of the size reaches the container, and its command as SIGWINCH. At its
	// prompt bash may leave the trap for later; between two sleeps it does not.
	term.send("bash -c 'trap \"stty size; exit\" WINCH; echo se\"\"t; while :; do sleep 0.01; done'\n")
	term.wait("set\r\n")
	if err := term.master.Resize(console.WinSize{Height: 20, Width: 50}); err != nil {
		t.Fatal(err)
	}
	term.wait("20 50\r\n")

	// Control characters are the container's, not the launcher's.
	// dash prints the word, since bash would not do: until then bash has the terminal, and
	// a bash that prints it handles the signal, and forgets it at exec.
	term.send("dash -c 'echo r\"\"eads; exec cat'\n")
	term.wait("reads\r\n")
	term.send("\x03")
	term.wait("^C\r\n\x1b[?2004h> ") // what is typed before bash has the terminal again may be lost
	term.send("echo still $((40+2))\n")
	term.wait("still 42")
	term.send("exit 5\n")
	wantStatus(t, term.Cmd, 5)
	if after := term.mode(); after != term.before {
		t.Errorf("the mode was not restored:\nbefore %+v\nafter  %+v", term.before, after)
	}
}

func TestTerminalRestored(t *testing.T) {
	for name, end := range map[string]func(*terminal){
		"SIGTERM": func(term *terminal) { _ = term.Process.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(term *terminal) { _ = term.Process.Signal(syscall.SIGHUP) },
		"container killed": func(term *terminal) {
			_ = syscall.Kill(pid1(term.t, term.Process.Pid), syscall.SIGKILL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			term := newTerminal(t, "-it", "debian", "bash", "-c", "trap 'exit 1' TERM HUP; echo re''ady; while :; do sleep 0.01; done")
			term.wait("ready")
			end(term)
			_ = term.Wait()
			if after := term.mode(); after != term.before {
				t.Errorf("the mode was not restored:\nbefore %+v\nafter  %+v", term.before, after)
			}
		})
	}
	t.Run("failed start", func(t *testing.T) {
		term := newTerminal(t, "-it", "debian", "nosuch")
		wantStatus(t, term.Cmd, 127)
		if after := term.mode(); after != term.before {
			t.Errorf("the mode was not restored:\nbefore %+v\nafter  %+v", term.before, after)
		}
		term.wait("run nosuch: executable file not found in $PATH\r\n")
	})
}

// The walkthrough as a user types it, in tmux.
func TestWalkthroughInTerminal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "tmux")
	tmux := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", socket}, args...)...)
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	custom := filepath.Join(testBed.profiles, "chown-audit-control.json")
	tmux("new-session", "-d", "-x", "110", "-y", "50",
		"PS1='host$ ' exec bash --norc --noprofile -i")
	before := len(leftovers())
	t.Cleanup(func() {
		tmux("kill-server") // its terminals hang up, and so do the containers in them
		eventually(t, "the containers are gone", func() bool { return len(leftovers()) <= before })
	})
	screen := func() string { return tmux("capture-pane", "-p") }
	expect := func(want string) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Log(screen())
			}
		}()
		eventually(t, fmt.Sprintf("%q on the screen", want), func() bool { return strings.Contains(screen(), want) })
	}
	enter := func(line, want string) {
		t.Helper()
		tmux("send-keys", line, "Enter")
		expect(want)
	}
	expect("host$")
	// Each line waits for its own output: what is typed early could reach the
	// wrong shell.
	enter("minirun -it --seccomp "+custom+" debian bash", ":/#")
	enter("useradd knrt10; echo status $?", "useradd: failure while writing changes to /etc/passwd\nstatus 1")
	enter("exit", "\nexit\nhost$")
	enter("clear; minirun -it -e PS1='box# ' --cap-add CAP_AUDIT_CONTROL --seccomp "+custom+" debian bash --norc", "box#")
	enter("useradd -m knrt10; id -u knrt10", "\n1000\n")
	enter("cd /home/knrt10; touch a; ls -l a", "-rw-r--r-- 1 root root 0")
	enter("chown knrt10 a; ls -l a", "-rw-r--r-- 1 knrt10 root 0")
	enter("exit", "\nexit\nhost$")
	enter("stty -a | grep -o '[-]*icanon'", "\nicanon")
}
