package integration

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// notifies tells the service manager, after a while, that it is ready, and what is not for it to say.
const notifies = `sleep 0.3; perl -MSocket -e 'socket(S, PF_UNIX, SOCK_DGRAM, 0) or die;
for ("STATUS=nearly", "READY=1\nMAINPID=1", "STOPPING=1") { send(S, $_, 0, pack_sockaddr_un($ENV{NOTIFY_SOCKET})) or die }'
`

// ociNotify compares what a service manager hears by sd_notify(3) with what it hears from runc: a runtime that leaves the
// container returns when that is ready, and names its process.
func ociNotify(t *testing.T, root string) {
	testenv.Program(t, "runc")
	heard := func(runtime, script string, verbs ...string) string {
		b := newBundle(t, root, func(s *specs.Spec) {
			shell(script)(s)
			s.Process.User.UID = 7
		})
		socket := filepath.Join(b.dir, "manager")
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		defer b.run(runtime, "delete", "--force", "notify")
		for _, verb := range verbs {
			cmd := b.command(runtime, append(strings.Fields(verb), "--pid-file", "pid", "notify")...)
			if verb == "start" {
				cmd = b.command(runtime, "start", "notify")
			}
			cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
			cmd.Stderr = os.Stderr // a file: the container may have it longer than the runtime
			if err := cmd.Run(); err != nil {
				t.Errorf("%s %s: %v", runtime, verb, err)
			}
		}
		pid, _ := os.ReadFile(filepath.Join(b.dir, "pid"))
		if _, err := strconv.Atoi(string(pid)); err != nil {
			t.Errorf("%s: pid file: %v", runtime, err)
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		if err := raw.Read(func(fd uintptr) bool { // all has come: a deadline may have passed before the first read
			for buffer := make([]byte, 4096); ; {
				n, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
				if err != nil {
					return true
				}
				all.Write(buffer[:n])
			}
		}); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(all.String(), "MAINPID="+string(pid)+"\n", "MAINPID=PID\n")
	}
	for _, verbs := range [][]string{{"create", "start"}, {"run --detach"}} {
		theirs, ours := heard("runc", notifies+"sleep 100", verbs...), heard("minirun", notifies+"sleep 100", verbs...)
		if diff := cmp.Diff(theirs, ours); diff != "" || ours != "READY=1\nMAINPID=PID\n" {
			t.Errorf("%s: runc -, minirun +:\n%s", verbs, diff)
		}
	}
	// runc of before 1.2 may end before it has passed it on.
	if got := heard("minirun", notifies, "run"); got != "READY=1\n" {
		t.Errorf("run: %q", got)
	}
	if got := heard("minirun", "true", "create", "start"); got != "" {
		t.Errorf("a command that ends without a word: %q", got)
	}
}
