package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
	"github.com/minirun/minirun/rootfs"
)

// initByVariable is that of --init-by; lifecycleChild has it too.
const initByVariable = "MINIRUN_INIT_BY"

// lifecycleChild makes a container and takes it through the steps that its standard
// input names, one a line. It answers each with a line: ok, or why not. Its arguments
// are in the environment: NAME, OWNER, RUN_ROOT and COMMAND.
func lifecycleChild() error {
	store, err := rootfs.OpenStore(os.Getenv("MINIRUN_ROOT"))
	if err != nil {
		return err
	}
	image, err := store.Resolve(context.Background(), "debian", rootfs.ResolveOptions{Pull: rootfs.PullNever})
	if err != nil {
		return err
	}
	defer image.Close()
	runtime.LockOSThread() // the mounts go with the thread
	if err := launcher.PrivateMounts(); err != nil {
		return err
	}
	warn := func(err error) { fmt.Fprintln(os.Stderr, "warning:", err) }
	c, err := launcher.New(lifecycleDirs(os.Getenv("RUN_ROOT")), os.Getenv("NAME"), launcher.Owner(os.Getenv("OWNER")), warn)
	if err != nil {
		return err
	}
	overlay := rootfs.Overlay{Layers: image.Layers, Dir: c.Dir()}
	root, err := overlay.Mount()
	if err != nil {
		return err
	}
	flags, err := config.Parse(config.Flags{})
	if err != nil {
		return err
	}
	flags.Args = []string{"sh", "-c", os.Getenv("COMMAND")}
	if flags, err = spec.Merge(*flags, spec.Image(image.Config)); err != nil {
		return err
	}
	host, _, err := launcher.Inspect(flags)
	if err != nil {
		return err
	}
	described, err := c.Spec(flags, host, root)
	if err != nil {
		return err
	}
	steps := map[string]func() error{
		"create": func() error {
			by := launcher.InitBy(os.Getenv(initByVariable))
			return c.Create(launcher.Options{Spec: described, Stdout: os.Stderr, Stderr: os.Stderr, InitBy: by})
		},
		"start": c.Start,
		"kill":  func() error { return c.Kill(unix.SIGKILL) },
		"wait": func() error {
			status, err := c.Wait()
			if err == nil && status != 0 {
				err = fmt.Errorf("status %d", status)
			}
			return err
		},
		"unmount": overlay.Unmount,
		"delete":  c.Delete,
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer := "ok"
		if err := steps[in.Text()](); err != nil {
			answer = err.Error()
		}
		fmt.Println(strings.ReplaceAll(answer, os.Getenv("NAME"), "NAME"))
	}
	return nil
}

func lifecycleDirs(runRoot string) launcher.Dirs {
	return launcher.Dirs{Root: os.Getenv("MINIRUN_ROOT"), RunRoot: runRoot}
}

// lifecycle is a container of another process.
type lifecycle struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.Writer
	out  *bufio.Reader
	name string
	dirs launcher.Dirs
}

func newLifecycle(t *testing.T, owner launcher.Owner, command string) *lifecycle {
	t.Helper()
	l := &lifecycle{t: t, name: containerName(t), dirs: lifecycleDirs(filepath.Join(t.TempDir(), "run"))}
	l.cmd = child(t, "lifecycle")
	l.cmd.Env = append(l.cmd.Env, "NAME="+l.name, "OWNER="+string(owner), "RUN_ROOT="+l.dirs.RunRoot, "COMMAND="+command)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	l.cmd.Stderr = stderr // a file: a container that outlives the child keeps it open
	l.in, l.out = testenv.Start(t, l.cmd)
	t.Cleanup(func() {
		l.end()
		if c, err := launcher.Open(l.dirs, l.name, func(error) {}); t.Failed() && err == nil {
			_ = c.Kill(unix.SIGKILL)
			_ = c.Delete() // what is left is shown below
		}
		if text, err := os.ReadFile(stderr.Name()); t.Failed() || len(text) > 0 {
			t.Errorf("standard error: %s %v", text, err)
		}
	})
	return l
}

// end kills the process that made the container. Its guard, a fork, has a copy of its lock
// until it comes to run (guard.c, keep_only), which may be later on a busy machine.
func (l *lifecycle) end() {
	l.t.Helper()
	_ = l.cmd.Process.Kill() // it has ended, when it is called again
	_ = l.cmd.Wait()
	eventually(l.t, "nobody has the lock of "+l.name, func() bool {
		lock, err := flock.Open(filepath.Join(l.dirs.Root, "containers", l.name), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			lock.Close()
		}
		return !errors.Is(err, unix.EWOULDBLOCK)
	})
}

// do has the child take a step, and wants its answer.
func (l *lifecycle) do(step, want string) {
	l.t.Helper()
	if _, err := fmt.Fprintln(l.in, step); err != nil {
		l.t.Fatal(err)
	}
	got, err := l.out.ReadString('\n')
	if got = strings.TrimSpace(got); err != nil || got != want {
		l.t.Fatalf("%s: %q (%v), want %q", step, got, err, want)
	}
}

// open finds the container, as this process sees it.
func (l *lifecycle) open() *launcher.Container {
	l.t.Helper()
	c, err := launcher.Open(l.dirs, l.name, func(err error) { l.t.Error(err) })
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// see wants this process to see a status, and returns the state.
func (l *lifecycle) see(want launcher.Status) launcher.State {
	l.t.Helper()
	s, err := l.open().State()
	if err != nil || s.Status != want || s.Name != l.name {
		l.t.Fatalf("the state is %+v, %v; want status %s", s, err, want)
	}
	return s
}

// sweep starts another container's life, which removes what killed launchers left.
func (l *lifecycle) sweep() {
	l.t.Helper()
	c, err := launcher.New(l.dirs, l.name+"-next", launcher.OwnerLauncher, func(err error) { l.t.Error(err) })
	if err != nil {
		l.t.Fatal(err)
	}
	if err := c.Delete(); err != nil {
		l.t.Error(err)
	}
}

// The life of a container, as seen by the process that launched it and by another one.
func TestLifecycle(t *testing.T) {
	l := newLifecycle(t, launcher.OwnerLauncher, "exec sleep 1000")
	for _, step := range []struct{ do, want string }{
		{"start", "start container NAME: it is creating"},
		{"wait", "wait for container NAME: it is creating"},
		{"kill", "signal container NAME: it is creating"},
		{"create", "ok"},
		{"create", "create container NAME: it is created"},
	} {
		l.do(step.do, step.want)
	}
	created := l.see(launcher.StatusCreated)
	comm, err := os.ReadFile("/proc/" + strconv.Itoa(created.PID) + "/comm")
	if err != nil || string(comm) == "sleep\n" {
		t.Errorf("PID 1 is %q, %v before it was started", comm, err)
	}
	if err := l.open().Start(); err == nil || err.Error() != "start container "+l.name+": it is created" {
		t.Errorf("another process's start: %v", err)
	}

	l.do("start", "ok")
	l.do("start", "start container NAME: it is running")
	l.do("create", "create container NAME: it is running")
	l.do("delete", "delete container NAME: it is running")
	running := l.see(launcher.StatusRunning)
	if running.PID != created.PID || running.StartTime != created.StartTime || running.Root != filepath.Join(l.dirs.Root, "containers", l.name, "root") {
		t.Errorf("the state is %+v, was %+v", running, created)
	}
	eventually(t, "PID 1 is the command", func() bool {
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(created.PID) + "/comm")
		return err == nil && string(comm) == "sleep\n"
	})
	if err := l.open().Delete(); !errors.Is(err, launcher.ErrOwned) {
		t.Errorf("another process's delete: %v", err)
	}
	l.sweep()
	l.see(launcher.StatusRunning)

	if err := l.open().Kill(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	eventually(t, "the container has stopped", func() bool {
		s, err := l.open().State()
		return err == nil && s.Status == launcher.StatusStopped
	})
	l.do("kill", "signal container NAME: it is stopped")
	l.do("wait", "status 137")
	l.do("wait", "status 137")
	l.do("start", "start container NAME: it is stopped")
	l.see(launcher.StatusStopped)
	opened := l.open()
	l.do("unmount", "ok")
	l.do("delete", "ok")
	l.do("delete", "ok")
	wantNothingOf(t, l.name)
	if _, err := launcher.Open(l.dirs, l.name, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a container that was deleted: %v", err)
	}
	if err := opened.Kill(unix.SIGTERM); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("kill what was deleted: %v", err)
	}
	if err := opened.Delete(); err != nil {
		t.Errorf("delete what was deleted: %v", err)
	}
}

// A created container that is never started can be killed and deleted.
func TestLifecycleNeverStarted(t *testing.T) {
	for name, steps := range map[string][]string{"deleted": nil, "killed": {"kill"}} {
		t.Run(name, func(t *testing.T) {
			l := newLifecycle(t, launcher.OwnerLauncher, "echo ran")
			l.do("create", "ok")
			pid := l.see(launcher.StatusCreated).PID
			for _, step := range steps {
				l.do(step, "ok")
				l.do("wait", "status 137")
			}
			l.do("unmount", "ok")
			l.do("delete", "ok")
			wantNothingOf(t, l.name)
			if !gone(pid) {
				t.Error("PID 1 is left")
			}
		})
	}
}

// When a launcher is killed at any step, its container ends, and the next launch removes
// what is left.
func TestLifecycleLauncherKilled(t *testing.T) {
	for _, steps := range [][]string{{}, {"create"}, {"create", "start"}, {"create", "kill"}, {"create", "start", "kill", "wait"}} {
		t.Run(strings.Join(append([]string{"after"}, steps...), "-"), func(t *testing.T) {
			l := newLifecycle(t, launcher.OwnerLauncher, "exec sleep 1000")
			l.do("start", "start container NAME: it is creating")
			for _, step := range steps {
				want := "ok"
				if step == "wait" {
					want = "status 137"
				}
				l.do(step, want)
			}
			state, err := l.open().State()
			if err != nil {
				t.Fatal(err)
			}
			pid := state.PID
			l.end()
			if pid != 0 {
				eventually(t, "PID 1 ends", func() bool { return gone(pid) })
			}
			l.sweep()
			wantNothingOf(t, l.name)
		})
	}
}

// A container that is nobody's outlives the process that made it, and every sweep,
// until another process deletes it.
func TestLifecycleOfNobody(t *testing.T) {
	l := newLifecycle(t, launcher.OwnerNobody, "exec sleep 1000")
	l.do("create", "ok")
	l.do("start", "ok")
	l.end()
	running := l.see(launcher.StatusRunning)
	l.sweep()
	if s := l.see(launcher.StatusRunning); s.PID != running.PID || gone(s.PID) {
		t.Errorf("the state is %+v, was %+v", s, running)
	}
	c := l.open()
	var status *launcher.StateError
	if err := c.Delete(); !errors.As(err, &status) || status.Status != launcher.StatusRunning {
		t.Errorf("delete what runs: %v", err)
	}
	if err := c.Kill(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	eventually(t, "the container has stopped", func() bool {
		s, err := c.State()
		return err == nil && s.Status == launcher.StatusStopped
	})
	l.sweep()
	l.see(launcher.StatusStopped)
	for _, c := range []*launcher.Container{l.open(), c} { // the second time there is none
		if err := c.Delete(); err != nil {
			t.Error(err)
		}
	}
	wantNothingOf(t, l.name)
}

// One whose maker was killed between create and start waits until it is deleted; one
// that is not yet created is removed by the next launch.
func TestLifecycleOfNobodyMakerKilled(t *testing.T) {
	t.Run("created", func(t *testing.T) {
		l := newLifecycle(t, launcher.OwnerNobody, "echo ran")
		l.do("create", "ok")
		l.end()
		pid := l.see(launcher.StatusCreated).PID
		l.sweep()
		l.see(launcher.StatusCreated)
		if err := l.open().Delete(); err != nil {
			t.Error(err)
		}
		eventually(t, "PID 1 ends", func() bool { return gone(pid) })
		wantNothingOf(t, l.name)
	})
	t.Run("creating", func(t *testing.T) {
		l := newLifecycle(t, launcher.OwnerNobody, "echo ran")
		l.do("start", "start container NAME: it is creating")
		l.end()
		l.sweep()
		wantNothingOf(t, l.name)
	})
}
