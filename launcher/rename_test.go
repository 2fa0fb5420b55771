package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ended makes a container that has ended, and stays.
func ended(t *testing.T, dirs Dirs, name string) *Container {
	t.Helper()
	c, err := New(dirs, name, OwnerLauncher, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	c.state.Status, c.state.Finished = StatusStopped, time.Now()
	if err := c.Outlast(false, true); err != nil {
		t.Fatal(err)
	}
	c.unlock()
	return c
}

func TestRename(t *testing.T) {
	dirs := Dirs{Root: t.TempDir(), RunRoot: filepath.Join(t.TempDir(), "run")}
	one, two := ended(t, dirs, "one"), ended(t, dirs, "two")
	for name, want := range map[string]error{"two": ErrNameInUse, "one": ErrSameName, "": ErrInvalidName, "../x": ErrInvalidName, ".x": ErrInvalidName} {
		if err := one.Rename(name); !errors.Is(err, want) {
			t.Errorf("to %q: %v, want %v", name, err, want)
		}
	}
	if err := one.Rename("three"); err != nil {
		t.Fatal(err)
	}
	found, err := Find(dirs, "three", func(err error) { t.Error(err) })
	if err != nil || found.ID() != one.ID() || found.Name() != "three" {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := Find(dirs, "one", func(err error) { t.Error(err) }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
	if again := ended(t, dirs, "one"); again.ID() == one.ID() {
		t.Error("the name was not free")
	}
	held, err := two.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Rename("four"); !errors.Is(err, ErrOwned) {
		t.Errorf("while another is at work: %v", err)
	}
	held()
}

// A process that is killed while it renames leaves a container with one of the names.
func TestRenameKilled(t *testing.T) {
	for name, moved := range map[string]bool{"old": false, "new": true} {
		dirs := Dirs{Root: t.TempDir(), RunRoot: filepath.Join(t.TempDir(), "run")}
		c := ended(t, dirs, "old")
		c.state.NextName = "new"
		if err := c.state.save(); err != nil {
			t.Fatal(err)
		}
		if moved {
			if err := os.Rename(c.dir, filepath.Join(filepath.Dir(c.dir), "new")); err != nil {
				t.Fatal(err)
			}
		}
		found, err := Find(dirs, name, func(err error) { t.Error(err) })
		if err != nil || found.Name() != name || found.ID() != c.ID() {
			t.Fatalf("%s: %v, %v", name, found, err)
		}
		if err := found.Rename("last"); err != nil {
			t.Error(err)
		}
		if _, err := Find(dirs, "last", func(err error) { t.Error(err) }); err != nil {
			t.Error(err)
		}
	}
}
