package vm

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guests is a tree with test.sh, and stubs of what makes images and payloads. GUEST is done
// with $part being the guest's part of the tests.
type guests struct {
	tree string
	left *os.File // at its end when all processes have ended
	cmd  *exec.Cmd
	out  strings.Builder
}

func newGuests(t *testing.T, guest, seconds string) *guests {
	t.Helper()
	g := &guests{tree: t.TempDir()}
	here, programs, tmp := filepath.Join(g.tree, "integration/vm"), filepath.Join(g.tree, "bin"), filepath.Join(g.tree, "tmp")
	for _, dir := range []string{here, programs, tmp, filepath.Join(g.tree, "build/vm/payload")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{
		filepath.Join(here, "image.sh"): "#!/bin/sh\necho image\n", filepath.Join(here, "payload.sh"): "#!/bin/sh\n",
		filepath.Join(programs, "nproc"):              "#!/bin/sh\necho 2\n",
		filepath.Join(programs, "qemu-system-x86_64"): strings.Replace(stub, "eval", `part=$(printf '%s\n' "$@" | sed -n 's,.*minirun.part=,,p'); eval`, 1),
	}
	for _, name := range []string{"test.sh", "boot.sh", "accel.sh"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(here, name)] = string(text)
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	left, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	g.left = left
	t.Cleanup(func() { left.Close() })
	g.cmd = exec.Command(filepath.Join(here, "test.sh"), "bookworm")
	g.cmd.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "TMPDIR="+tmp, "GUEST="+guest, "MINIRUN_VM_ACCEL=tcg", "MINIRUN_VM_TIMEOUT="+seconds)
	g.cmd.Stdout, g.cmd.Stderr = &g.out, &g.out
	g.cmd.ExtraFiles = []*os.File{end}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = g.cmd.Start()
	end.Close()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// wait checks that nothing is left of the guests.
func (g *guests) wait(t *testing.T) {
	t.Helper()
	var exit *exec.ExitError
	if err := g.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	_ = g.left.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := g.left.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a guest is left")
	}
	if dirs, err := os.ReadDir(filepath.Join(g.tree, "tmp")); err != nil || len(dirs) > 0 {
		t.Errorf("%v is left: %v", dirs, err)
	}
}

// The two emulated guests share the tests, and the log has those of both.
func TestTwoGuests(t *testing.T) {
	const tested = `echo "--- PASS: Test$part (0.00s)"; `
	for name, tt := range map[string]struct {
		guest  string
		status int
		last   string
	}{
		"pass":              {tested + `echo 0 >"$status"`, 0, "vm: PASS after "},
		"first fails":       {tested + `[ $part = 2/2 ]; echo $? >"$status"`, 1, "vm: FAIL: status 1 after "},
		"second fails":      {tested + `[ $part = 1/2 ]; echo $? >"$status"`, 1, "vm: FAIL: status 1 after "},
		"first takes long":  {tested + `[ $part = 2/2 ] || exec sleep 1000; echo 0 >"$status"`, 124, "vm: TIMEOUT: not done after 2 s"},
		"second takes long": {tested + `[ $part = 1/2 ] || exec sleep 1000; echo 0 >"$status"`, 124, "vm: TIMEOUT: not done after 2 s"},
	} {
		t.Run(name, func(t *testing.T) {
			limit := "60" // of a guest that ends by itself, on a busy machine
			if tt.status == 124 {
				limit = "2"
			}
			g := newGuests(t, tt.guest, limit)
			g.wait(t)
			log, err := os.ReadFile(filepath.Join(g.tree, "build/results/bookworm.log"))
			if err != nil {
				t.Fatal(err)
			}
			for of, text := range map[string]string{"output": g.out.String(), "log": string(log)} {
				lines := strings.Split(strings.TrimSpace(text), "\n")
				if last := lines[len(lines)-1]; !strings.HasPrefix(last, tt.last) || !strings.Contains(text, "PASS: Test1/2 ") || !strings.Contains(text, "PASS: Test2/2 ") {
					t.Errorf("%s: %s", of, text)
				}
			}
			if status := g.cmd.ProcessState.ExitCode(); status != tt.status {
				t.Errorf("status %d, want %d: %s", status, tt.status, g.out.String())
			}
			if _, err := os.Stat(filepath.Join(g.tree, "build/results/bookworm.log.2")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the second log is left: %v", err)
			}
		})
	}
}

// Both guests end with the script: by Ctrl-C, which the whole group gets, and when it is killed.
func TestTwoGuestsInterrupted(t *testing.T) {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // else one that this process ignores is ignored there
	t.Cleanup(func() { signal.Reset(os.Interrupt) })
	for name, interrupt := range map[string]func(pid int) error{
		"Ctrl-C":     func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) },
		"terminated": func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) },
		"killed":     func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuests(t, `echo r >&3; exec sleep 1000`, "60")
			for range 2 {
				if _, err := g.left.Read(make([]byte, 2)); err != nil {
					t.Fatal(err)
				}
			}
			if err := interrupt(g.cmd.Process.Pid); err != nil {
				t.Error(err)
			}
			if g.wait(t); g.cmd.ProcessState.Success() {
				t.Error(g.out.String())
			}
		})
	}
}
