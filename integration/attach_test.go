package integration

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/minirun/minirun/internal/testenv"
)

// At a terminal: the size, the keys that leave the container as it is, and its own end.
func TestAttachTerminal(t *testing.T) {
	box := containerName(t)
	detach(t, box, "-it", "debian", "sh")
	term := newTerminal(t, "attach", box)
	term.send("stty size\n")
	term.wait("33 77")
	term.send("\x10\x11")
	term.isLeft()
	says(t, 0, "running\n", "", "inspect", "-f", "{{.State.Status}}", box)

	term = newTerminal(t, "attach", "--detach-keys", "ctrl-a,d", box)
	term.send("echo $((20+22))\x10\x11\n")
	term.wait("42") // these keys are the container's
	term.send("\x01")
	term.send("d")
	wantStatus(t, term.Cmd, 1)

	term = newTerminal(t, "attach", box)
	term.send("exit 5\n")
	wantStatus(t, term.Cmd, 5)

	term = newTerminal(t, "start", "-ai", box)
	term.send("echo $((20+23))\n")
	term.wait("43")
	term.send("\x10\x11")
	wantStatus(t, term.Cmd, 0)
	says(t, 1, "", "the input device is not a TTY", "attach", box)
	term = newTerminal(t, "start", "-ai", box) // it runs
	term.send("echo $((20+24))\n")
	term.wait("44")
	if err := term.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, term.Cmd, 143)
	if term.mode() != term.before {
		t.Error("the terminal has another mode after SIGTERM")
	}
	says(t, 0, box+"\n", "", "rm", "-f", box)
	wantNothingOf(t, box)
}

// attached is an attachment whose output is read.
type attached struct {
	*exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func attach(t *testing.T, args ...string) *attached {
	t.Helper()
	cmd := minirun(t, args...)
	in, out := testenv.Start(t, cmd)
	return &attached{cmd, in, out}
}

// line waits for a line.
func (a *attached) line(t *testing.T, want string) {
	t.Helper()
	if got, err := a.out.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

// Signals are passed on to the container, unless --sig-proxy=false says that they end the
// attachment; several may be attached, and one that is killed is no loss.
func TestAttachSignals(t *testing.T) {
	box := containerName(t)
	detach(t, box, "debian", "sh", "-c", "trap 'echo bye; exit 9' TERM; while :; do echo tick; sleep 0.05; done")
	proxy, other, killed := attach(t, "attach", box), attach(t, "attach", "--sig-proxy=false", box), attach(t, "attach", box)
	for _, a := range []*attached{proxy, other, killed} {
		a.line(t, "tick")
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	other.line(t, "tick")
	if err := other.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, other.Cmd, 143)
	proxy.line(t, "tick")
	if err := proxy.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(proxy.out)
	wantStatus(t, proxy.Cmd, 9)
	if !bytes.HasSuffix(rest, []byte("bye\n")) {
		t.Errorf("the end is %q", rest)
	}
	says(t, 1, "", "you cannot attach to a stopped container, start it first", "attach", box)
}

// All that a command writes reaches who starts it with -a, from its first byte on, however
// quick it is; SIGKILL of the container's supervisor is said.
func TestStartAttached(t *testing.T) {
	box := containerName(t)
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", box).Run() })
	says(t, 0, "\n", "", "create", "--name", box, "-i", "debian", "sh", "-c", "yes $(printf %0999d 0) | head -n 100; cat; echo err >&2; exit 6")
	cmd := minirun(t, "start", "-ai", box)
	var stderr strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader("end"), &stderr
	out, _ := cmd.Output()
	if len(out) != 100003 || !bytes.HasSuffix(out, []byte("0\nend")) || stderr.String() != "err\n" || cmd.ProcessState.ExitCode() != 6 {
		t.Errorf("%d bytes, %q, %v", len(out), &stderr, cmd.ProcessState)
	}
	says(t, 0, box+"\n", "", "start", box) // its input does not end
	eventually(t, "all is in the log", func() bool {
		out, _ := minirun(t, "logs", box).Output()
		return bytes.Count(out, []byte("0\n")) == 200
	})
	a := attach(t, "attach", box)
	if _, err := io.WriteString(a.in, "typed\n"); err != nil {
		t.Fatal(err)
	}
	a.line(t, "typed")
	if err := syscall.Kill(supervisorOf(t, box), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, a.Cmd, 137)
	says(t, 0, "Exited (137)", "its minirun was killed", "ps", "-a", "-f", "name="+box)
	says(t, 0, box+"\n", "", "rm", box)
	c := runs(t)
	says(t, 1, "", "container "+c.name+" is attached to the minirun that launched it", "attach", c.name)
}

// The keys leave a command of exec, which runs on; without them it ends with its minirun.
func TestExecDetachKeys(t *testing.T) {
	box := containerName(t)
	detach(t, box, "debian", "sleep", "1000")
	command := []string{box, "sh", "-c", "echo re''ady; read x; stty size; echo $x >/typed; echo $$ >/pid; exec sleep 1001"}
	runs := func() bool {
		out, err := minirun(t, "top", box).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(out), "sleep 1001")
	}
	term := newTerminal(t, append([]string{"exec", "-it", "--detach-keys", "ctrl-a,d"}, command...)...)
	term.wait("ready")
	term.send("\x10\x11x\n")
	term.wait("33 77")
	term.send("\x01d")
	term.isLeft()
	term.master.Close()
	if !runs() {
		t.Error("the command has ended")
	}
	says(t, 0, "\x10x\n", "", "exec", box, "cat", "/typed")
	says(t, 0, "", "", "exec", box, "sh", "-c", "kill $(cat /pid)")
	eventually(t, "the command's end", func() bool { return !runs() })

	term = newTerminal(t, append([]string{"exec", "-it", "--detach-keys", "ctrl-a,d"}, command...)...)
	term.wait("ready")
	term.send("\n")
	eventually(t, "it runs", runs)
	if err := term.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = term.Wait()
	eventually(t, "the end of the command of a minirun that was killed", func() bool { return !runs() })

	term = newTerminal(t, "exec", "-it", "--detach-keys", "ctrl-a,d", box, "sh", "-c", "exit 9")
	wantStatus(t, term.Cmd, 9)
	says(t, 125, "", "--detach-keys x-y: x-y is no key", "exec", "--detach-keys", "x-y", box, "true")
	says(t, 0, box+"\n", "", "rm", "-f", box)
	wantNothingOf(t, box)
}

// A launch is left by keys as docker's is, and then is a container in the background. docker sets the
// terminal's size when the command runs already.
func TestRunDetachKeys(t *testing.T) {
	docker := []string{"docker", "-H", startDockerd(t)}
	for _, engine := range [][]string{docker, {testBed.minirun, "--root", testBed.root}} {
		do := func(args ...string) *exec.Cmd {
			return exec.Command(engine[0], append(engine[1:len(engine):len(engine)], args...)...)
		}
		box := containerName(t)
		t.Cleanup(func() { _ = do("rm", "-f", box).Run() })
		term := openTerminal(t, do("run", "-it", "--rm", "--detach-keys", "ctrl-a,d", "--network", "none", "--name", box, "debian",
			"sh", "-c", "echo re''ady; read x; until stty size | grep -v '^0 0'; do sleep 0.05; done; echo got $x; read y; exit 5"))
		term.wait("ready\r\n")
		term.send("\x10\x11x\n")
		term.wait("33 77\r\ngot \x10x\r\n") // the terminal takes ctrl-q for itself
		term.send("\x01")
		term.send("d")
		wantStatus(t, term.Cmd, 0)
		if term.mode() != term.before {
			t.Error("the terminal has another mode")
		}
		if strings.Contains(term.text(), "escape") {
			t.Errorf("%s shows %q", engine, term.text())
		}
		term.master.Close()
		logs, err := do("logs", box).Output()
		if err != nil || !strings.HasPrefix(string(logs), "ready\r\n") {
			t.Errorf("%s logs: %q, %v", engine, logs, err)
		}
		term = openTerminal(t, do("attach", box))
		term.send("\n")
		wantStatus(t, term.Cmd, 5)
		eventually(t, "the container has been removed", func() bool { return do("inspect", box).Run() != nil })
	}
}

// A launch that keys can leave ends as another does, unless it is left.
func TestRunDetachKeysEnds(t *testing.T) {
	box := containerName(t)
	run := func(args ...string) *terminal {
		return newTerminal(t, append([]string{"run", "-it", "--detach-keys", "", "--name", box}, args...)...)
	}
	term := run("debian", "stty", "size") // it has the size from its beginning
	wantStatus(t, term.Cmd, 0)
	term.wait("33 77")
	term = run("debian", "sh", "-c", "yes $(printf %0999d 0) | head -n 100; exit 7")
	wantStatus(t, term.Cmd, 7)
	eventually(t, "all of its output", func() bool { return strings.Count(term.text(), "0\r\n") == 100 })
	wantNothingOf(t, box)

	term = run("debian", "nosuch")
	wantStatus(t, term.Cmd, 127)
	term.wait("nosuch")
	wantNothingOf(t, box)

	term = run("debian", "sh", "-c", "trap 'exit 9' TERM; echo re''ady; while :; do sleep 0.05; done")
	term.wait("ready")
	if err := term.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, term.Cmd, 9)
	wantNothingOf(t, box)

	term = run("--rm=false", "debian", "sh", "-c", "echo re''ady; read x; exit 3")
	term.wait("ready")
	if err := term.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = term.Wait()
	term = newTerminal(t, "attach", box)
	term.send("\n")
	wantStatus(t, term.Cmd, 3)
	term = newTerminal(t, "start", "-ai", box)
	term.wait("ready")
	term.send("\x10\x11")
	wantStatus(t, term.Cmd, 0)
	says(t, 0, box+"\n", "", "rm", "-f", box)
	wantNothingOf(t, box)

	says(t, 125, "", "--detach-keys x-y: x-y is no key", "run", "--detach-keys", "x-y", "debian", "true")
	says(t, 125, "", "stdin is not a terminal", "run", "-it", "--detach-keys", "", "debian", "true")
	says(t, 125, "", "cannot specify both --attach and --detach-keys", "run", "-it", "-a", "stdin", "--detach-keys", "", "debian", "true")
	says(t, 0, "on\n", "", "run", "--detach-keys", "ctrl-a", "debian", "echo", "on")
}
