package launcher

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// A container that cannot be removed is a warning at every start, not the end of
// all starts; those beside it are removed.
func TestNewDespiteWhatIsLeft(t *testing.T) {
	testenv.Root(t)
	runtime.LockOSThread() // the mounts go with the thread
	if err := PrivateMounts(); err != nil {
		t.Fatal(err)
	}
	dirs := Dirs{Root: t.TempDir(), RunRoot: filepath.Join(t.TempDir(), "run")}
	containers := filepath.Join(dirs.Root, "containers")
	stuck, dead, file := filepath.Join(containers, "stuck", "upper"), filepath.Join(containers, "dead", "upper"), filepath.Join(containers, "file")
	for _, dir := range []string{stuck, dead} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", stuck, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}

	names := func() (all []string) {
		entries, err := os.ReadDir(containers)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	for range 2 {
		var warnings []string
		c, err := New(dirs, "new", OwnerLauncher, func(err error) { warnings = append(warnings, err.Error()) })
		if err != nil {
			t.Fatal(err)
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], "busy") {
			t.Errorf("the warnings are %q, want one about the mount", warnings)
		}
		if left := names(); len(left) != 2 { // new, and what was stuck, whose name is free again
			t.Errorf("the directories are %q", left)
		}
		if err := c.Delete(); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Unmount(filepath.Join(containers, names()[0], "upper"), 0); err != nil {
		t.Fatal(err)
	}
	c, err := New(dirs, "stuck", OwnerLauncher, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if left := names(); len(left) != 1 {
		t.Errorf("the directories are %q", left)
	}
	if err := c.Delete(); err != nil {
		t.Fatal(err)
	}
	if left := names(); len(left) != 0 {
		t.Errorf("the directories are %q", left)
	}
}

// The state of containers is kept where no other user can change it.
func TestNewInOwnRunRoot(t *testing.T) {
	testenv.Root(t)
	for _, c := range []struct {
		mode  os.FileMode
		owner int
		want  string
	}{
		{0o700, 0, ""},
		{0o775, 0, ""},
		{0o700, 1000, "belongs to another user"},
		{0o777, 0, "can be written to by everybody"},
		{0o777 | os.ModeSticky, 0, "can be written to by everybody"},
	} {
		dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
		if err := errors.Join(os.Chmod(dirs.RunRoot, c.mode), os.Chown(dirs.RunRoot, c.owner, -1)); err != nil {
			t.Fatal(err)
		}
		container, err := New(dirs, "box", OwnerLauncher, func(err error) { t.Error(err) })
		var refused *Error
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &refused) || refused.Cause != CauseRunRoot || !strings.HasSuffix(err.Error(), c.want)) {
			t.Errorf("%v of user %d: %v, want %q", c.mode, c.owner, err, c.want)
		}
		if err == nil {
			if err := container.Delete(); err != nil {
				t.Error(err)
			}
		} else if left, err := os.ReadDir(dirs.Root); err != nil || len(left) > 0 {
			t.Errorf("%v of user %d: left: %v, %v", c.mode, c.owner, left, err)
		}
	}
}

// What else is in a run root stays: the directory NAME in it would be removed with container
// NAME.
func TestNewInUsedRunRoot(t *testing.T) {
	testenv.Root(t)
	dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
	theirs := filepath.Join(dirs.RunRoot, "box")
	if err := os.Mkdir(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := New(dirs, "box", OwnerLauncher, func(err error) { t.Error(err) })
	var refused *Error
	if !errors.As(err, &refused) || refused.Cause != CauseRunRoot || !strings.HasSuffix(err.Error(), " is neither empty nor a run root: it has box") {
		t.Errorf("a launch in it: %v", err)
	}
	if left, err := os.ReadDir(dirs.RunRoot); err != nil || len(left) != 1 {
		t.Errorf("in it is now %v, %v", left, err)
	}
}

// Another user cannot choose the directory for the state by a link where it is looked for.
func TestNewInForeignLink(t *testing.T) {
	testenv.Root(t)
	dirs := Dirs{Root: t.TempDir(), RunRoot: filepath.Join(t.TempDir(), "run")}
	if err := os.Symlink(t.TempDir(), dirs.RunRoot); err != nil {
		t.Fatal(err)
	}
	own, err := New(dirs, "box", OwnerLauncher, func(err error) { t.Error(err) })
	if err == nil {
		err = own.Delete()
	}
	if err != nil {
		t.Errorf("the user's own link: %v", err)
	}
	if err := os.Lchown(dirs.RunRoot, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dirs, "box", OwnerLauncher, func(err error) { t.Error(err) }); err == nil || !strings.HasSuffix(err.Error(), "belongs to another user") {
		t.Errorf("another user's link: %v", err)
	}
}

// A container's directory is closed to other users also where the store's is open to
// them: its programs with set-user-ID bits are in it.
func TestNewIsClosed(t *testing.T) {
	testenv.Root(t)
	dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
	if err := os.Chmod(dirs.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := New(dirs, "closed", OwnerLauncher, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Dir(c.dir), c.dir} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v, want mode 0700", path, info.Mode(), err)
		}
	}
	if err := c.Delete(); err != nil {
		t.Fatal(err)
	}
}

// A running container keeps its name.
func TestNewTwice(t *testing.T) {
	testenv.Root(t)
	dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
	warn := func(err error) { t.Error(err) }
	first, err := New(dirs, "same", OwnerLauncher, warn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(dirs, "same", OwnerLauncher, warn); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	if err := first.Delete(); err != nil {
		t.Fatal(err)
	}
	second, err := New(dirs, "same", OwnerLauncher, warn)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Delete(); err != nil {
		t.Fatal(err)
	}
	wantRunRootEmpty(t, dirs.RunRoot)
}

// Where there are many containers a start looks at some of them. A name whose container's
// launcher was killed is free at once.
func TestNewBesideMany(t *testing.T) {
	testenv.Root(t)
	dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
	warn := func(err error) { t.Error(err) }
	containers := filepath.Join(dirs.Root, "containers")
	const many = 10 * sweepCount
	for i := range many {
		if err := os.MkdirAll(filepath.Join(containers, fmt.Sprint("dead", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	left := func() int {
		entries, err := os.ReadDir(containers)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	start := func(name string) {
		c, err := New(dirs, name, OwnerLauncher, warn)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(); err != nil {
			t.Fatal(err)
		}
	}
	start("new")
	if n := left(); n != many-sweepCount {
		t.Errorf("%d are left of %d", n, many)
	}
	for i := range many {
		start(fmt.Sprint("dead", i))
	}
	if n := left(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// A start does not read the states of containers that engines have, but removes what a removal
// of one has left.
func TestNewBesideEngines(t *testing.T) {
	testenv.Root(t)
	dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
	for _, name := range []string{"engines", ".0123456789ab"} {
		dir := filepath.Join(dirs.Root, "containers", name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{stateFile, "engine"} {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil { // a state that cannot be read
				t.Fatal(err)
			}
		}
	}
	c, err := New(dirs, "new", OwnerNobody, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(dirs.Root, "containers"))
	if err != nil || len(left) != 1 || left[0].Name() != "engines" {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What is in the cgroup of a container whose launcher was killed is ended. Engines name cgroups:
// one that was made for another container is left alone.
func TestNewEndsCgroup(t *testing.T) {
	testenv.Root(t)
	const own, others = "own", "0123456789ab"
	for _, test := range []struct {
		name    string
		engines bool
		owner   string // that is noted on the cgroup
		damaged bool
		spared  bool
	}{
		{"a launcher's", false, "", false, false},
		{"a launcher's, damaged", false, "", true, false},
		{"an engine's", true, own, false, false},
		{"another engine's", true, others, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
			warn := func(err error) { t.Error(err) }
			killed, err := New(dirs, "killed", OwnerLauncher, warn)
			if err != nil {
				t.Fatal(err)
			}
			if test.engines {
				killed.state.Owner, killed.state.Args = OwnerNobody, []string{"true"}
			}
			cm, err := manager.New(killed.cgroup())
			if err != nil {
				t.Fatal(err)
			}
			process := exec.Command("sleep", "1000")
			process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				_ = process.Wait() // a signal ends it
				close(ended)
			}()
			if err := cm.Apply(process.Process.Pid); err != nil {
				t.Fatal(err)
			}
			switch made := (&ownCgroup{Manager: cm}); test.owner {
			case own:
				made.noteOwner(killed.state.shortID())
			case others:
				made.noteOwner(others)
			}
			killed.state.Cgroups = cm.GetPaths()
			if err := killed.Outlast(true, true); err != nil {
				t.Fatal(err)
			}
			if test.damaged {
				text := `{"name":"killed","id":"` + killed.ID() + `","sta`
				if err := os.WriteFile(killed.state.file(), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			killed.unlock()
			if test.damaged {
				err = DeleteDamaged(dirs, "killed")
			} else {
				var next *Container
				if next, err = New(dirs, "next", OwnerLauncher, warn); err == nil {
					err = next.Delete()
				}
			}
			if err != nil {
				t.Error(err)
			}
			if test.spared {
				if pids, err := cm.GetAllPids(); err != nil || len(pids) != 1 {
					t.Errorf("in the cgroup: %v, %v", pids, err)
				}
				_ = process.Process.Kill()
			}
			<-ended
			if test.spared {
				if err := cm.Destroy(); err != nil {
					t.Error(err)
				}
			}
			if cm.Exists() {
				t.Error("the cgroup is left")
			}
		})
	}
}

// A container whose launcher was killed is removed with its state, which may be in another run
// root than the one of the process that removes it.
func TestNewRemovesState(t *testing.T) {
	testenv.Root(t)
	dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
	warn := func(err error) { t.Error(err) }
	killed, err := New(dirs, "killed", OwnerLauncher, warn)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := killed.State(); err != nil || s.RunRoot != dirs.RunRoot {
		t.Fatalf("the state is %+v, %v", s, err)
	}
	if err := os.WriteFile(killed.state.launchFile(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	killed.unlock()
	next, err := New(Dirs{Root: dirs.Root, RunRoot: t.TempDir()}, "next", OwnerLauncher, warn)
	if err != nil {
		t.Fatal(err)
	}
	wantRunRootEmpty(t, dirs.RunRoot)
	if _, err := killed.State(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state of the killed one: %v", err)
	}
	if err := next.Delete(); err != nil {
		t.Fatal(err)
	}
}
