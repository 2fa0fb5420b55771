package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/internal/thread"
)

// netns is a network namespace of a test's own, in which minirun runs as on a machine of
// its own. (`ip netns exec` would hide /sys/fs/cgroup.)
type netns struct {
	t    *testing.T
	file *os.File
}

// newNetns makes one, with the loopback device up, that goes with the test.
func newNetns(t *testing.T) *netns {
	t.Helper()
	n := &netns{t: t}
	if err := thread.Do(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.file.Close() })
	n.run("ip", "link", "set", "lo", "up")
	return n
}

// command is one in the namespace.
func (n *netns) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(testenv.Program(n.t, "nsenter"), append([]string{"--net=/proc/self/fd/3", name}, args...)...)
	cmd.ExtraFiles = []*os.File{n.file}
	return cmd
}

func (n *netns) run(name string, args ...string) string {
	n.t.Helper()
	return outputOf(n.t, n.command(name, args...))
}

// in calls f on a thread in the namespace: sockets that it makes stay there.
func (n *netns) in(f func() error) error {
	return thread.Do(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// dial connects to an address in the namespace, as soon as somebody listens there.
func (n *netns) dial(network, address string) net.Conn {
	n.t.Helper()
	var conn net.Conn
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := n.in(func() (err error) {
			conn, err = net.DialTimeout(network, address, 5*time.Second)
			return err
		})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			n.t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond)
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// networked is a minirun in a namespace whose container has said "ready".
type networked struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *bytes.Buffer
}

// launch starts a container that runs a script of sh, and returns when that has printed
// the line "ready".
func (n *netns) launch(script string, flags ...string) *networked {
	n.t.Helper()
	args := append([]string{"--root", testBed.root, "--run-root", filepath.Join(n.t.TempDir(), "run"), "run", "--init"}, flags...)
	r := &networked{cmd: n.command(testBed.minirun, append(args, "debian", "sh", "-c", script)...), stderr: &bytes.Buffer{}}
	r.cmd.Stderr = r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	r.stdout = bufio.NewReader(out)
	if err := r.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = r.cmd.Process.Signal(unix.SIGTERM)
		_ = r.cmd.Wait()
	})
	if line := r.line(n.t); line != "ready" {
		rest, _ := io.ReadAll(r.stdout)
		n.t.Fatalf("%q%s, %s", line, rest, r.stderr)
	}
	return r
}

func (r *networked) line(t *testing.T) string {
	t.Helper()
	line, err := r.stdout.ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

// perlServer answers each line of a connection or datagram in upper case.
const perlServer = `
use IO::Socket::IP; $| = 1;
my $s = IO::Socket::IP->new(LocalHost => $ARGV[1] || "127.0.0.1", LocalPort => 80, Proto => $ARGV[0], $ARGV[0] eq "tcp" ? (Listen => 100) : ()) or die $@;
print "ready\n";
if ($ARGV[0] eq "udp") { while (1) { my $from = $s->recv(my $data, 65536); $s->send(uc $data, 0, $from) } }
while (my $c = $s->accept) { next if fork; while (<$c>) { print $c uc }; exit }`

// server is a script that runs perlServer.
func server(args ...string) string {
	return "exec perl -e '" + perlServer + "' " + strings.Join(args, " ")
}

func echo(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text+"\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if want := strings.ToUpper(text) + "\n"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// world is another machine: a namespace at the other end of a veth, 192.0.2.1 here and
// 192.0.2.2 there, and fd00:2::1 and ::2.
func world(n *netns) *netns {
	n.t.Helper()
	w := newNetns(n.t)
	cmd := exec.Command("nsenter", "--net=/proc/self/fd/3", "ip", "link", "add", "wan0", "type", "veth", "peer", "name", "wan1", "netns", "/proc/self/fd/4")
	cmd.ExtraFiles = []*os.File{n.file, w.file}
	outputOf(n.t, cmd)
	for i, side := range []struct {
		ns  *netns
		dev string
	}{{n, "wan0"}, {w, "wan1"}} {
		side.ns.run("ip", "address", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", side.dev)
		side.ns.run("ip", "address", "add", fmt.Sprintf("fd00:2::%d/64", i+1), "dev", side.dev, "nodad")
		side.ns.run("ip", "link", "set", side.dev, "up")
	}
	n.run("ip", "route", "add", "default", "via", "192.0.2.2")
	eventually(n.t, "the router has an address to ask for its neighbours from", func() bool {
		own := n.run("ip", "-6", "-o", "address", "show", "dev", "wan0", "scope", "link")
		return own != "" && !strings.Contains(own, "tentative")
	})
	return w
}

// -p works without any network: at the address that it names, and at all without one.
func TestPublish(t *testing.T) {
	n := newNetns(t)
	w := world(n)
	r := n.launch(server("tcp"), "--network", "none", "-p", "127.0.0.1:8080:80", "-p", "8081:80", "-p", "8082-8090:80", "-p", "8082-8090:80")
	echo(t, n.dial("tcp", "127.0.0.1:8080"), "local")
	echo(t, n.dial("tcp", "[::1]:8081"), "all of IPv6")
	for _, address := range []string{"192.0.2.1:8081", "[fd00:2::1]:8081", "192.0.2.1:8082", "192.0.2.1:8083"} {
		echo(t, w.dial("tcp", address), "from outside")
	}
	if err := w.in(func() error { _, err := net.Dial("tcp", "192.0.2.1:8080"); return err }); err == nil {
		t.Error("what is published at 127.0.0.1 is open to others")
	}
	ps := n.run(testBed.minirun, "--root", testBed.root, "ps", "--format", "{{.Networks}} {{.Ports}}")
	if want := "none 127.0.0.1:8080->80/tcp, 0.0.0.0:8081->80/tcp, [::]:8081->80/tcp, 0.0.0.0:8082->80/tcp, [::]:8082->80/tcp, 0.0.0.0:8083->80/tcp, [::]:8083->80/tcp\n"; ps != want {
		t.Errorf("ps: %q, want %q", ps, want)
	}
	for flag, want := range map[string]string{
		"8081:81":          "minirun: --publish 8081:81: listen tcp 0.0.0.0:8081: address already in use\nhint: 'ss -ltnp sport = 8081' shows by whom\n",
		"198.51.100.1::80": "minirun: --publish 198.51.100.1::80: listen tcp 198.51.100.1:0: cannot assign requested address\nhint: 'ip address' lists the addresses of this machine\n",
	} {
		cmd := n.command(testBed.minirun, "--root", testBed.root, "-p", flag, "debian", "echo", "ran")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 125 || string(out) != want {
			t.Errorf("%s: %v, %q", flag, err, out)
		}
	}
	// Killed, it leaves no port open.
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
	if out := n.run("ss", "-Hltn"); out != "" {
		t.Errorf("somebody listens: %s", out)
	}
}

func TestPublishUDP(t *testing.T) {
	n := newNetns(t)
	w := world(n)
	r := n.launch(server("udp"), "--network", "none", "-p", "8080:80/udp", "-P", "--expose", "80/udp", "--expose", "81")
	for _, address := range []string{"192.0.2.1:8080", "[fd00:2::1]:8080"} {
		echo(t, w.dial("udp", address), "from outside")
	}
	echo(t, n.dial("udp", "127.0.0.1:8080"), "local")
	if said := r.stderr.String(); !strings.HasPrefix(said, "81/tcp is published at port ") || strings.Count(said, "\n") != 1 {
		t.Errorf("%q", said)
	}
}

// A container can share the network of another that runs, with its names.
func TestSharedNetwork(t *testing.T) {
	n := newNetns(t)
	run := filepath.Join(t.TempDir(), "run")
	name := containerName(t)
	n.launch(server("tcp"), "--name", name, "--network", "none", "--add-host", "other:192.0.2.9")
	for _, by := range []string{"plan", "libcontainer"} {
		got := n.run(testBed.minirun, append([]string{"--root", testBed.root, "--run-root", run, "--init-by", by, "--network", "container:" + name}, client("127.0.0.1", "80")...)...)
		if got != "FROM THE CONTAINER\n" {
			t.Errorf("%s: %q", by, got)
		}
	}
	id := strings.TrimSpace(n.run(testBed.minirun, "--root", testBed.root, "ps", "-q", "--filter", "name="+name))
	got := n.run(testBed.minirun, "--root", testBed.root, "--run-root", run, "--network", "container:"+id, "debian", "sh", "-c", "echo $HOSTNAME; hostname; tail -n 1 /etc/hosts")
	if got != id+"\n"+id+"\n192.0.2.9\tother\n" {
		t.Errorf("its names, by its ID: %q", got)
	}
	for kind, want := range map[string]string{
		"container:" + name + "x": "no container of that name runs\nhint: 'minirun ps' lists those that run\n",
	} {
		cmd := n.command(testBed.minirun, "--root", testBed.root, "--run-root", run, "--network", kind, "debian", "echo", "ran")
		out, _ := cmd.CombinedOutput()
		if want = "minirun: --network " + kind + ": " + want; cmd.ProcessState.ExitCode() != 125 || string(out) != want {
			t.Errorf("status %d, %q, want %q", cmd.ProcessState.ExitCode(), out, want)
		}
	}
}
