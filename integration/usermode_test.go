package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minirun/minirun/internal/testenv"
)

// userModes are the networks that a program makes, with how the program's own name starts:
// pasta is passt, or one of its builds for a processor.
var userModes = map[string]string{"slirp4netns": "slirp4netns", "pasta": "pas"}

// In user mode a container reaches the world, but not what listens at this machine's
// loopback device, at whatever address; and it can be reached where it publishes.
func TestUserMode(t *testing.T) {
	for kind, program := range userModes {
		t.Run(kind, func(t *testing.T) {
			testenv.Program(t, kind)
			n := newNetns(t)
			w := world(n)
			n.run("ip", "-6", "route", "add", "default", "via", "fd00:2::2")
			for _, address := range []string{"192.0.2.2:80", "[fd00:2::2]:80"} {
				w.echoServer(address)
			}
			n.echoServer("127.0.0.1:81")
			n.echoServer("[::1]:81")
			const answer = "FROM THE CONTAINER\n"
			// The address of IPv6 comes by advertisement, a moment later.
			got := n.minirun("--network", kind, "debian", "sh", "-c",
				`for i in $(seq 100); do grep -v ' 01 \| 20 ' /proc/net/if_inet6 | grep -q ' .[08] *eth0' && break; sleep 0.1; done
				exec perl -e '`+perlClient+`' 192.0.2.2 80 fd00:2::2 80`)
			if got != answer+answer {
				t.Errorf("the world: %q", got)
			}
			got = n.minirun(append([]string{"--network", kind},
				client("127.0.0.1", "81", "::1", "81", "10.0.2.2", "81", "192.0.2.1", "81", "192.0.2.2", "81", "fd00::2", "81")...)...)
			if strings.Contains(got, "CONTAINER") {
				t.Errorf("this machine's loopback device: %q", got)
			}
			r := n.launch("ip=$(hostname -i); "+server("tcp", "$ip"), "--network", kind, "-p", "8080:80")
			echo(t, w.dial("tcp", "192.0.2.1:8080"), "what is published")
			if helpers := n.processes(program); len(helpers) == 0 {
				t.Error("no helper is found")
			}
			if err := r.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = r.cmd.Wait()
			for deadline := time.Now().Add(5 * time.Second); len(n.processes(program)) > 0; {
				if time.Now().After(deadline) {
					t.Fatalf("%v run after minirun was killed", n.processes(program))
				}
				<-time.After(10 * time.Millisecond)
			}
		})
	}
}

// processes returns the PIDs of the programs of a name in the namespace.
func (n *netns) processes(name string) (pids []string) {
	n.t.Helper()
	own, err := n.file.Stat()
	if err != nil {
		n.t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		n.t.Fatal(err)
	}
	for _, dir := range all {
		comm, _ := os.ReadFile(dir + "/comm")
		ns, err := os.Stat(dir + "/ns/net") // gone for one that only waits to be reaped
		if strings.HasPrefix(string(comm), name) && err == nil && os.SameFile(own, ns) {
			pids = append(pids, filepath.Base(dir))
		}
	}
	return pids
}

// slirp4netns works on a machine that is not connected; what a helper lacks is said.
func TestUserModeLacks(t *testing.T) {
	testenv.Program(t, "slirp4netns")
	testenv.Program(t, "pasta")
	n := newNetns(t)
	if got := n.minirun("--network", "slirp4netns", "debian", "hostname", "-i"); got != "10.0.2.100\n" {
		t.Errorf("without a default route: %q", got)
	}
	run := []string{testBed.minirun, "--root", testBed.root, "--run-root", filepath.Join(t.TempDir(), "run")}
	for name, tt := range map[string]struct {
		before []string
		kind   string
		want   string
	}{
		"tun": {
			[]string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /dev/net && exec "$@"`, "sh"},
			"slirp4netns",
			"minirun: --network slirp4netns: slirp4netns: open(\"/dev/net/tun\"): No such file or directory\nhint: sudo modprobe tun && sudo chmod 666 /dev/net/tun (as udev does)\n",
		},
		"slirp4netns": {
			[]string{"env", "PATH=/nowhere"},
			"slirp4netns",
			"minirun: --network slirp4netns: slirp4netns is not installed\nhint: sudo apt-get install slirp4netns, or --network pasta\n",
		},
		"pasta": {
			[]string{"env", "PATH=/nowhere"},
			"pasta",
			"minirun: --network pasta: pasta is not installed\nhint: sudo apt-get install passt, or --network slirp4netns\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(append(append([]string{}, tt.before...), run...), "--network", tt.kind, "debian", "echo", "ran")
			cmd := n.command(args[0], args[1:]...)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 125 || string(out) != tt.want {
				t.Errorf("status %d, %q, want %q", cmd.ProcessState.ExitCode(), out, tt.want)
			}
		})
	}
}
