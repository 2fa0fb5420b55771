package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/minirun/minirun/internal/testenv"
)

// wantNothingLeft starts a container and removes it; nothing is left then of any other.
func wantNothingLeft(t *testing.T, dirs Dirs) {
	t.Helper()
	fail := func(err error) { t.Error(err) }
	c, err := New(dirs, "next", OwnerLauncher, fail)
	if err == nil {
		err = c.Delete()
	}
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dirs.Root, "containers")); err != nil || len(left) > 0 {
		t.Errorf("%s has %v, %v", dirs.Root, left, err)
	}
	wantRunRootEmpty(t, dirs.RunRoot)
}

// wantRunRootEmpty reports what a run root has except for its mark.
func wantRunRootEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return e.Name() == filesDir })
	if err != nil || len(left) > 0 {
		t.Errorf("run root %s has %v, %v", dir, left, err)
	}
}

// A process was killed while it made a container, or while it removed one.
func TestNewRemovesTheRest(t *testing.T) {
	testenv.Root(t)
	ended := func(c *Container) error { // as one that is kept, and has ended
		c.state.Status, c.state.Finished = StatusStopped, time.Now()
		return c.Outlast(false, true)
	}
	write := func(path string) error { return os.WriteFile(path, []byte(`{"na`), 0o600) }
	for name, steps := range map[string]func(c *Container) error{
		"new":               func(*Container) error { return nil },
		"state not written": func(c *Container) error { return os.Remove(c.state.file()) },
		"state half written": func(c *Container) error {
			return errors.Join(os.Remove(c.state.file()), write(c.state.inRunRoot(newSuffix)))
		},
		"another state half written": func(c *Container) error { return write(c.state.inRunRoot(newSuffix)) },
		"launch half written":        func(c *Container) error { return write(c.state.launchFile()) },
		"no name any more":           (*Container).renameAway,
		"state removed":              func(c *Container) error { return errors.Join(c.renameAway(), c.state.remove()) },
		"kept":                       func(c *Container) error { return errors.Join(ended(c), c.renameAway()) },
		"kept, state twice": func(c *Container) error {
			inMemory := c.state.file()
			return errors.Join(ended(c), write(inMemory), c.renameAway())
		},
		"kept, state removed": func(c *Container) error {
			return errors.Join(ended(c), c.renameAway(), os.Remove(filepath.Join(c.dir, stateFile)))
		},
		"damaged": func(c *Container) error {
			return errors.Join(ended(c), write(c.state.file()), c.renameAway())
		},
		"an engine's, half handed over": func(c *Container) error { // libcontainerState
			c.state.Owner, c.state.Args = OwnerNobody, []string{"true"}
			dir := filepath.Join(c.state.RunRoot, c.state.Name)
			return errors.Join(c.state.save(), os.Mkdir(dir, 0o711), write(filepath.Join(dir, startFile)))
		},
		"an engine's": func(c *Container) error {
			c.state.Owner, c.state.Status = OwnerNobody, StatusStopped
			return errors.Join(c.state.save(), c.renameAway())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
			killed, err := New(dirs, "killed", OwnerLauncher, func(err error) { t.Error(err) })
			if err == nil {
				err = steps(killed)
			}
			if err != nil {
				t.Fatal(err)
			}
			killed.unlock()
			wantNothingLeft(t, dirs)
		})
	}
}

// The name of a container is free before its files have been removed.
func TestDeleteBesideItsSuccessor(t *testing.T) {
	testenv.Root(t)
	dirs := Dirs{Root: t.TempDir(), RunRoot: t.TempDir()}
	fail := func(err error) { t.Error(err) }
	kept := func() *Container {
		c, err := New(dirs, "same", OwnerLauncher, fail)
		if err == nil {
			err = c.Outlast(false, true)
		}
		if err == nil {
			err = os.WriteFile(c.state.launchFile(), nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := kept()
	if err := old.renameAway(); err != nil {
		t.Fatal(err)
	}
	successor := kept()
	if err := old.removeDir(); err != nil {
		t.Fatal(err)
	}
	if s, err := successor.State(); err != nil || s.ID != successor.ID() {
		t.Errorf("the state is %+v, %v", s, err)
	}
	if _, err := os.Stat(successor.state.launchFile()); err != nil {
		t.Error(err)
	}
	if err := successor.Delete(); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, dirs)
}
