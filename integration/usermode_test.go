package integration

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
			// The address of IPv6 comes by advertisement, a moment later, and is tentative (0x40) at first.
			got := n.minirun("--network", kind, "debian", "sh", "-c",
				`for i in $(seq 100); do grep -v ' 01 \| 20 ' /proc/net/if_inet6 | grep -q ' [0-38-b]. *eth0' && break; sleep 0.1; done
				exec perl -e '`+perlClient+`' 192.0.2.2 80 fd00:2::2 80`)
			if got != answer+answer {
				t.Errorf("the world: %q", got)
			}
			if got := n.minirun(append([]string{"--userns", "auto", "--network", kind}, client("192.0.2.2", "80")...)...); got != answer {
				t.Errorf("the world, with users of its own: %q", got)
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
			n.minirun("--network", "none", "debian", "true") // removes what is left of it
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

// asUser is a program that a user runs in the namespace, where /dev/net/tun has a mode.
func (n *netns) asUser(u *ordinary, mode, path string, args ...string) *exec.Cmd {
	script := `mount -t tmpfs none /dev/net && mknod /dev/net/tun c 10 200 && chmod ` + mode + ` /dev/net/tun && exec "$@"`
	id := func(flag string, id uint32) string { return fmt.Sprintf("--%s=%d", flag, id) }
	return n.command("unshare", append([]string{
		"--mount", "sh", "-c", script, "sh", "setpriv", id("reuid", u.uid), id("regid", u.gid), "--clear-groups",
		"env", "-i", "HOME=" + u.home, "PATH=" + path,
	}, args...)...)
}

// For a user a bridge is a network in user mode; ports are published as for root.
func TestNetworkAsUser(t *testing.T) {
	testenv.Program(t, "slirp4netns")
	u := ordinaryUser(t, "minirun-networks", true)
	u.load(t)
	n := newNetns(t)
	w := world(n)
	w.echoServer("192.0.2.2:80")
	const path = "/usr/sbin:/usr/bin:/sbin:/bin"
	cmd := n.asUser(u, "666", path, append([]string{u.minirun}, client("192.0.2.2", "80")...)...) // it is the default
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "FROM THE CONTAINER\n" {
		t.Errorf("%v, %q", err, out)
	}
	ids := t.TempDir() // has what maps the user's IDs, and nothing else
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if err := os.Symlink("/usr/bin/"+name, filepath.Join(ids, name)); err != nil {
			t.Fatal(err)
		}
	}
	for dir := ids; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ mode, path, flag, value, want string }{
		{"600", path, "--network", "bridge", "--network bridge: slirp4netns: open(\"/dev/net/tun\"): Permission denied\nhint: sudo modprobe tun && sudo chmod 666 /dev/net/tun (as udev does)\n"},
		{"666", ids, "--env", "A=1", "--network bridge: as a user it needs slirp4netns or pasta, and neither is installed\nhint: sudo apt-get install slirp4netns, or --network none\n"},
		{"666", path, "--publish", "80:80", "--publish 80:80: listen tcp 0.0.0.0:80: permission denied\nhint: choose a port from 1024 on, or sudo sysctl net.ipv4.ip_unprivileged_port_start=80\n"},
	} {
		cmd := n.asUser(u, tt.mode, tt.path, u.minirun, tt.flag, tt.value, "debian", "echo", "ran")
		out, _ := cmd.CombinedOutput()
		if want := "minirun: " + tt.want; cmd.ProcessState.ExitCode() != 125 || string(out) != want {
			t.Errorf("status %d, %q, want %q", cmd.ProcessState.ExitCode(), out, want)
		}
	}
	cmd = n.asUser(u, "666", path, u.minirun, "--init", "--network", "none", "-p", "8080:80", "debian", "sh", "-c", server("tcp"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("%q, %v", line, err)
	}
	echo(t, w.dial("tcp", "192.0.2.1:8080"), "what is published")
	_ = cmd.Process.Signal(unix.SIGTERM)
	_ = cmd.Wait()
}
