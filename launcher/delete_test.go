package launcher

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
)

// Who only looks at a container, as wait does, has its lock for a moment: that stops neither
// a removal nor a copy. Who keeps the lock does.
func TestLookedAt(t *testing.T) {
	dirs := Dirs{Root: t.TempDir(), RunRoot: filepath.Join(t.TempDir(), "run")}
	for name, use := range map[string]func(*Container) error{
		"delete": (*Container).Delete,
		"hold": func(c *Container) error {
			release, err := c.Hold()
			if err == nil {
				release()
			}
			return err
		},
	} {
		c := ended(t, dirs, name)
		look, err := flock.Open(c.dir, unix.LOCK_SH)
		if err != nil {
			t.Fatal(err)
		}
		if err := use(c); !errors.Is(err, ErrOwned) {
			t.Errorf("%s while another has the lock: %v", name, err)
		}
		time.AfterFunc(50*time.Millisecond, func() { look.Close() })
		if err := use(c); err != nil {
			t.Errorf("%s while another has the lock for a moment: %v", name, err)
		}
	}
}
