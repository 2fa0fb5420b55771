package launcher

import (
	"errors"
	"os"
	"testing"
)

// The number of a PID 1 that has ended may be another process's: that one's root and users
// are not the container's.
func TestRootOfAnother(t *testing.T) {
	c := &Container{state: State{Name: "box", Status: StatusRunning}}
	if err := c.state.identify(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	root, err := c.OpenRoot()
	if err != nil {
		t.Fatal(err)
	}
	root.Close()
	if _, _, err := c.RootIDs(); err != nil {
		t.Error(err)
	}
	c.state.StartTime--
	if _, err := c.OpenRoot(); !errors.As(err, new(*StateError)) {
		t.Errorf("OpenRoot: %v", err)
	}
	if _, _, err := c.RootIDs(); !errors.As(err, new(*StateError)) {
		t.Errorf("RootIDs: %v", err)
	}
}
