package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// The launcher that waits for its container is one thread of C with little memory
// (launcher/wait.c).

// ownMemory returns how much memory only this process has, in KiB (proc_pid_smaps(5)).
func ownMemory(t *testing.T, pid int) (kib int) {
	t.Helper()
	sum := 0
	for _, anonymous := range mappings(t, pid) {
		sum += anonymous
	}
	return sum
}

func threads(t *testing.T, pid int) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

// waitsInC waits until a launcher in C has closed all by which it has started init, and returns what it has
// open.
func waitsInC(t *testing.T, launcher int) (files []string) {
	t.Helper()
	eventually(t, "the launcher waits in C", func() bool {
		files = openFiles(t, launcher, testBed.root)
		return threads(t, launcher) == 1 && slices.Contains(files, "anon_inode:[signalfd]") && !slices.Contains(files, "/memfd:minirun-init (deleted)")
	})
	return files
}

// openFiles returns what a process has open, by kind: pipes and the like without their
// numbers. The standard files, and those that the test itself was started with, are left
// out.
func openFiles(t *testing.T, pid int, root string) []string {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	numbers, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, n := range numbers {
		to, _ := os.Readlink(dir + n.Name()) // it may have been closed
		if fd, _ := strconv.Atoi(n.Name()); fd <= 2 || isInherited(fd, to) {
			continue
		}
		to = strings.TrimPrefix(to, root)
		switch kind, _, _ := strings.Cut(to, ":["); {
		case kind == "pipe":
			to = "pipe"
		case strings.HasPrefix(to, "/blobs/"):
			to = "image"
		case strings.HasPrefix(to, "/containers/"):
			to = "container"
		case strings.HasPrefix(to, "/dev/pts/"):
			to = "terminal"
		}
		kinds = append(kinds, to)
	}
	slices.Sort(kinds)
	return kinds
}

func isInherited(fd int, to string) bool {
	own, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	flags, ferr := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && own == to && ferr == nil && flags&unix.FD_CLOEXEC == 0
}

func TestWaitingLauncher(t *testing.T) {
	common := []string{"anon_inode:[pidfd]", "anon_inode:[signalfd]", "container", "image", "/memfd:minirun-wait (deleted)"}
	for name, tt := range map[string]struct {
		flags []string
		files []string
	}{
		"pipes":    {nil, []string{"pipe", "pipe", "pipe", "pipe"}},            // two from the container, and the two of the test opened again
		"input":    {[]string{"-i"}, []string{"pipe", "pipe", "pipe", "pipe"}}, // /dev/null has ended, and so has the pipe for it
		"terminal": {[]string{"-t"}, []string{"pipe", "terminal", "terminal"}}, // both of its sides
	} {
		t.Run(name, func(t *testing.T) {
			c := launch(t, tt.flags, "sh", "-c", "echo ready; exec sleep 1000")
			becomes(t, c.pid1, "sleep")
			if n := threads(t, c.Process.Pid); n != 1 {
				t.Errorf("%d threads", n)
			}
			for who, pid := range map[string]int{"launcher": c.Process.Pid, "guard": guardOf(t, c.Process.Pid)} {
				if kib := ownMemory(t, pid); kib > 512 {
					t.Errorf("the %s has %d KiB of its own", who, kib)
				}
			}
			want := slices.Sorted(slices.Values(slices.Concat(common, tt.files)))
			var got []string
			defer func() {
				if t.Failed() {
					t.Logf("the launcher has open\n%q, want\n%q", got, want)
				}
			}()
			eventually(t, "the launcher has closed what it had for the start", func() bool {
				got = openFiles(t, c.Process.Pid, testBed.root)
				return slices.Equal(got, want)
			})
			// ps(1) shows what the user has typed.
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.Process.Pid))
			if got := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"); !slices.Equal(got, c.Args) {
				t.Errorf("the command line is %q, want %q", got, c.Args)
			}
			if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.Process.Pid)); string(comm) != filepath.Base(testBed.minirun)+"\n" {
				t.Errorf("its name is %q", comm)
			}
		})
	}
}

// So is the launcher of a container in the background, until somebody attaches to that. It logs
// what the container writes, and what minirun itself says.
func TestWaitingSupervisor(t *testing.T) {
	for _, flags := range []string{"", "-i", "-t", "--rm", "--log-driver none"} {
		name := containerName(t)
		detach(t, name, append(strings.Fields(flags), "debian", "sh", "-c", "echo ready; exec sleep 1000")...)
		pid := supervisorOf(t, name)
		if n, kib := threads(t, pid), ownMemory(t, pid); n != 1 || kib > 512 {
			t.Errorf("%s: the supervisor has %d threads and %d KiB of its own", flags, n, kib)
		}
		if flags == "" {
			becomes(t, pid1(t, pid), "sleep")
			if err := unix.Kill(pid, unix.SIGINT); err != nil { // PID 1 ignores it
				t.Fatal(err)
			}
			eventually(t, "the log has the warning", func() bool {
				out, _ := minirun(t, "logs", name).CombinedOutput()
				return strings.Contains(string(out), "minirun: warning: interrupt: the command runs as PID 1")
			})
		}
		says(t, 0, name, "", "rm", "-f", name)
		wantNothingOf(t, name)
	}
	name := containerName(t)
	detach(t, name, "debian", "sh", "-c", `printf part; until [ -e /go ]; do sleep 0.05; done; echo " is shown"; echo too >&2; exit 3`)
	pid := supervisorOf(t, name)
	attached := minirun(t, "attach", name)
	var shown strings.Builder
	attached.Stdout, attached.Stderr = &shown, &shown
	if err := attached.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a child has the log", func() bool {
		files := slices.DeleteFunc(openFiles(t, pid, testBed.root), func(file string) bool { return file != "container" })
		return len(files) == 1 // the directory
	})
	says(t, 137, "", "", "exec", name, "sh", "-c", "touch /go; exec sleep 1000") // killed with the container
	wantStatus(t, attached, 3)
	for _, line := range []string{" is shown\n", "too\n"} {
		if !strings.Contains(shown.String(), line) {
			t.Errorf("%q was shown", &shown)
		}
	}
	says(t, 0, "3\n", "", "wait", name)
	says(t, 0, "part is shown\n", "too\n", "logs", name)
	says(t, 0, name, "", "rm", name)
	wantNothingOf(t, name)
}

// What needs Go while the container runs keeps the launcher as it is; --debug says what.
func TestNeedsGo(t *testing.T) {
	for flags, want := range map[string]string{
		"":                               "the launcher replaces itself",
		"--network none":                 "the launcher replaces itself",
		"--init -m 64m":                  "the launcher replaces itself",
		"--init-by libcontainer":         "needs Go: an init without a plan",
		"--explain":                      "needs Go: an observer",
		"--pid host":                     "needs Go: processes that PID 1 does not take along",
		"--publish 127.0.0.1::80":        "needs Go: a network",
		"--record " + t.TempDir() + "/x": "needs Go: ", // an observer without BPF
	} {
		cmd := minirun(t, slices.Concat([]string{"--debug"}, strings.Fields(flags), []string{"debian", "true"})...)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "\nminirun: debug: wait: "+want) {
			t.Errorf("%s: %v, want wait: %s, got\n%s", flags, err, want, out)
		}
	}
}

// The binary may be replaced, or removed, while a launch goes on: what it executes, as
// itself, as init and to remove what is unusual, is what was started.
func TestReplacedBinary(t *testing.T) {
	dir := t.TempDir()
	binary, fifo := filepath.Join(dir, "minirun"), filepath.Join(dir, "env")
	if err := exec.Command("cp", testBed.minirun, binary).Run(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	name := containerName(t)
	deep := "mkdir -p " + strings.Repeat("/d", 40)
	cmd := minirun(t, "--name", name, "--env-file", fifo, "debian", "sh", "-c", deep+"; exit $A")
	cmd.Path = binary
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	env, err := os.OpenFile(fifo, os.O_WRONLY, 0) // once the launcher reads it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(binary); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, []byte("#!/bin/sh\nexit 99\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := env.WriteString("A=7\n"); err != nil {
		t.Fatal(err)
	}
	env.Close()
	wantStatus(t, cmd, 7)
	wantNothingOf(t, name)
}

// Where execve(2) has no room for one more variable, the launcher goes on as it is, and
// waits by the same code.
func TestNoRoomToReplace(t *testing.T) {
	run := func(size int) (*exec.Cmd, *bytes.Buffer) {
		cmd := minirun(t, "debian", "sh", "-c", "echo ready; read line; exit 7")
		cmd.Dir, cmd.Path = filepath.Dir(testBed.minirun), "./"+filepath.Base(testBed.minirun)
		cmd.Args = slices.Insert(cmd.Args, 1, "-i")
		for i := 0; size > 0; i++ {
			n := min(size, 100<<10)
			cmd.Env = append(cmd.Env, fmt.Sprintf("FILL%d=%s", i, strings.Repeat("x", n)))
			size -= n
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		return cmd, &stderr
	}
	fits, tooMuch := 0, 16<<20 // more than a quarter of the limit on the stack, or 6 MiB (execve(2))
	for tooMuch-fits > 1 {
		size := (fits + tooMuch) / 2
		cmd, _ := run(size)
		cmd.Args = []string{cmd.Args[0], "version", strings.Join(cmd.Args, " ")} // as long, and quick to fail
		if err := cmd.Run(); err != nil && strings.Contains(err.Error(), "argument list too long") {
			tooMuch = size
		} else {
			fits = size
		}
	}
	cmd, stderr := run(fits)
	in, out := testenv.Start(t, cmd)
	said := make([]byte, len("ready"))
	if _, err := io.ReadFull(out, said); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	// /proc/PID is about the main thread, which may have ended.
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", cmd.Process.Pid))
	kib := 0
	for _, task := range tasks {
		tid, _ := strconv.Atoi(filepath.Base(task))
		kib = max(kib, ownMemory(t, tid))
	}
	if kib < 1024 {
		t.Errorf("%d KiB: it has replaced itself, so this test tests nothing", kib)
	}
	if _, err := io.WriteString(in, "\n"); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, cmd, 7)
}

// A reader that does not read its output stops neither the other output nor signals.
func TestSlowReader(t *testing.T) {
	for name, open := range map[string]func() (r, w *os.File, err error){
		"pipe": os.Pipe,
		"socket": func() (*os.File, *os.File, error) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			return os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket"), err
		},
		"terminal": openPty,
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			const size = 1 << 20 // more than any of them holds
			cmd := minirun(t, "debian", "sh", "-c", fmt.Sprintf(
				`trap 'echo signal >&2; wait; exit 7' USR1; head -c %d /dev/zero | tr '\0' x & echo ready >&2; wait; exit 8`, size))
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			say := func(want string) {
				t.Helper()
				said := make([]byte, len(want))
				if _, err := io.ReadFull(stderr, said); err != nil || string(said) != want {
					t.Fatalf("got %q (%v), want %q", said, err, want)
				}
			}
			say("ready\n")
			if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			say("signal\n")
			got, err := io.ReadAll(r) // EIO of a terminal
			if len(got) != size {
				t.Errorf("%d bytes of %d (%v)", len(got), size, err)
			}
			wantStatus(t, cmd, 7)
		})
	}
}

// openPty returns both ends of a pseudo-terminal.
func openPty() (master, slave *os.File, err error) {
	pty, path, err := console.NewPty()
	if err != nil {
		return nil, nil, err
	}
	fd, err := unix.Dup(int(pty.Fd()))
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	return os.NewFile(uintptr(fd), "terminal"), slave, errors.Join(err, pty.Close())
}

// Whoever waits for a container whose launcher was killed waits for PID 1 too, which the guard
// kills a little later.
func TestWaitForKilled(t *testing.T) {
	l := launch(t, nil, "setpriv", "--pdeathsig", "clear", "sh", "-c", "echo ready; while :; do sleep 1000; done")
	for _, pid := range childrenOf(t, l.Process.Pid) {
		if pid != l.pid1 {
			if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGCONT) })
		}
	}
	wait := minirun(t, "wait", l.name)
	var code bytes.Buffer
	wait.Stdout = &code
	if err := wait.Start(); err != nil {
		t.Fatal(err)
	}
	_ = l.Process.Kill()
	_ = l.Wait()
	eventually(t, "PID 1 is waited for", func() bool {
		return slices.Contains(openFiles(t, wait.Process.Pid, testBed.root), "anon_inode:[pidfd]")
	})
	if err := unix.Kill(l.pid1, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if _ = wait.Wait(); code.String() != "137\n" {
		t.Errorf("%q", &code)
	}
}
