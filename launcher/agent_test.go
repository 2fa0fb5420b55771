package launcher

import (
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/testenv"
)

// A user who may not connect is not told to start the agent.
func TestAgentForbidden(t *testing.T) {
	testenv.Root(t)
	path := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := unix.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		_ = unix.Setfsuid(65534)
		failed <- (&Agent{Path: path}).Connect()
	}()
	err = <-failed
	if err == nil || !strings.HasSuffix(err.Error(), ": permission denied") || !strings.HasPrefix(hint.Text(err), "this needs search permission ") {
		t.Errorf("%v; hint: %s", err, hint.Text(err))
	}
}
