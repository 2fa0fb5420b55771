package integration

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/minirun/minirun/internal/testenv"
)

// echoServer answers in upper case at an address in a namespace, until the test ends.
func (n *netns) echoServer(address string) {
	n.t.Helper()
	var l net.Listener
	if err := n.in(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				data := make([]byte, 100)
				for {
					n, err := conn.Read(data)
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, strings.ToUpper(string(data[:n])))
				}
			}()
		}
	}()
}

// perlClient asks each HOST PORT of its arguments, and prints the answer or "no answer".
const perlClient = `
use IO::Socket::IP; $| = 1;
while (my ($host, $port) = splice @ARGV, 0, 2) {
	my $s = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port, Timeout => 1) or print("no answer\n"), next;
	print $s "from the container\n"; print scalar <$s>;
}`

func client(args ...string) []string {
	return append([]string{"debian", "perl", "-e", perlClient}, args...)
}

// minirun runs a container to its end, and returns what it printed.
func (n *netns) minirun(args ...string) string {
	n.t.Helper()
	cmd := n.command(testBed.minirun, slices.Concat([]string{"--root", testBed.root, "--run-root", filepath.Join(n.t.TempDir(), "run"), "run"}, args)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Errorf("%v: %v", args, err)
	}
	return string(out)
}

// With a bridge a container reaches the world, and other containers; what it does not
// publish is not reached from outside.
func TestBridge(t *testing.T) {
	n := newNetns(t)
	w := world(n)
	for _, address := range []string{"192.0.2.2:80", "[fd00:2::2]:80"} {
		w.echoServer(address)
	}
	const answer = "FROM THE CONTAINER\n"
	if got := n.minirun(append([]string{"--network", "bridge"}, client("192.0.2.2", "80", "fd00:2::2", "80")...)...); got != answer+answer {
		t.Errorf("the world: %q", got)
	}

	n.launch(server("tcp", "::"), "--network", "bridge", "--ip", "10.96.0.7", "-p", "8080:80")
	v6 := strings.Fields(n.run("ip", "-6", "-o", "address", "show", "dev", "minirun0", "scope", "global"))[3]
	v6 = strings.TrimSuffix(v6, "1/64") + "0a60:7"
	if got := n.minirun(append([]string{"--network", "bridge"}, client("10.96.0.7", "80", v6, "80")...)...); got != answer+answer {
		t.Errorf("another container: %q", got)
	}
	echo(t, n.dial("tcp", "10.96.0.7:80"), "the host")
	echo(t, w.dial("tcp", "192.0.2.1:8080"), "what is published")

	// The world knows the way to the containers.
	w.run("ip", "route", "add", "10.96.0.0/16", "via", "192.0.2.1")
	w.run("ip", "route", "add", v6+"/64", "via", "fd00:2::1")
	reach := func(address string) error {
		return w.in(func() error {
			conn, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
			if err == nil {
				_ = conn.Close()
			}
			return err
		})
	}
	for _, address := range []string{"10.96.0.7:80", "[" + v6 + "]:80"} {
		if reach(address) == nil {
			t.Errorf("the world reaches %s", address)
		}
	}
	// It is the table that stops it; the next start makes it again.
	if err := n.in(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.DelTable(&nftables.Table{Name: "minirun", Family: nftables.TableFamilyINet})
		return c.Flush()
	}); err != nil {
		t.Fatal(err)
	}
	if err := reach("10.96.0.7:80"); err != nil {
		t.Errorf("without the table: %v", err)
	}
	n.minirun("--network", "bridge", "debian", "true")
	if reach("10.96.0.7:80") == nil {
		t.Error("the table is not made again")
	}
}

// Each container has an address of its own, under its name in /etc/hosts. --ip and
// --mac-address choose; an address that is taken, or no container can have, is refused.
func TestBridgeAddress(t *testing.T) {
	n := newNetns(t)
	n.launch("echo ready; sleep inf", "--network", "bridge", "--ip", "10.96.0.7")
	got := n.minirun("--network", "bridge", "--ip", "10.96.0.8", "--mac-address", "02:00:00:00:00:08", "-h", "box", "--domainname", "example.com",
		"--add-host", "host:host-gateway", "debian", "sh", "-c", "cat /sys/class/net/eth0/address; tail -n 3 /etc/hosts; cat /sys/class/net/eth0/mtu")
	lines := strings.Split(got, "\n")
	if len(lines) != 6 || lines[0] != "02:00:00:00:00:08" || lines[1] != "10.96.0.1\thost" || lines[2] != "10.96.0.8\tbox.example.com box" ||
		!strings.HasSuffix(lines[3], "a60:8\tbox.example.com box") || lines[4] != "1500" {
		t.Errorf("%q", got)
	}
	for address, want := range map[string]string{
		"10.96.0.7": "another container has it\nhint: choose another, or end that container\n",
		"10.96.0.1": "not an address of the containers' network\nhint: choose one of 10.96.0.0/16 other than 10.96.0.1\n",
		"192.0.2.1": "not an address of the containers' network\nhint: choose one of 10.96.0.0/16 other than 10.96.0.1\n",
	} {
		cmd := n.command(testBed.minirun, "--root", testBed.root, "--network", "bridge", "--ip", address, "debian", "echo", "ran")
		out, _ := cmd.CombinedOutput()
		if want = "minirun: --ip " + address + ": " + want; cmd.ProcessState.ExitCode() != 125 || string(out) != want {
			t.Errorf("status %d, %q, want %q", cmd.ProcessState.ExitCode(), out, want)
		}
	}
}

// Containers that start at once get different addresses, and their devices go with them,
// also when minirun is killed.
func TestBridgeDevices(t *testing.T) {
	n := newNetns(t)
	const many = 6
	outputs := make(chan string, many)
	for range many {
		go func() {
			out, err := n.command(testBed.minirun, "--root", testBed.root, "--network", "bridge", "debian", "hostname", "-i").CombinedOutput()
			outputs <- fmt.Sprint(strings.TrimSpace(string(out)), err)
		}()
	}
	seen := map[string]bool{}
	for range many {
		out := <-outputs
		if seen[out] || !strings.HasSuffix(out, "<nil>") || !strings.Contains(out, "10.96.") {
			t.Errorf("%q", out)
		}
		seen[out] = true
	}
	r := n.launch("echo ready; sleep inf", "--network", "bridge")
	if devices := n.run("ip", "-br", "link"); !strings.Contains(devices, "\nmr") {
		t.Errorf("the container has no device: %s", devices)
	}
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; {
		devices := n.run("ip", "-br", "link")
		if !strings.Contains(devices, "\nmr") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %s", devices)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// A firewall that forwards nothing is named, with what lets the bridge through. dockerd's is
// asked to let it through.
func TestBridgeFirewall(t *testing.T) {
	const dropped = "minirun: warning: the firewall's FORWARD policy is drop: the container cannot reach out\nhint: "
	const answer = "FROM THE CONTAINER\n"
	for name, tt := range map[string]struct {
		family nftables.TableFamily
		table  string
		chains []string // the first forwards
		want   string
	}{
		"iptables": {
			nftables.TableFamilyIPv4, "filter",
			[]string{"FORWARD"},
			dropped + "sudo iptables -I FORWARD -i minirun0 -j ACCEPT && sudo iptables -I FORWARD -o minirun0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nno answer\n",
		},
		"nftables": {
			nftables.TableFamilyINet, "own",
			[]string{"forward"},
			dropped + "sudo nft insert rule inet own forward iifname minirun0 accept && sudo nft insert rule inet own forward oifname minirun0 ct state related,established accept\nno answer\n",
		},
		"docker": {nftables.TableFamilyIPv4, "filter", []string{"FORWARD", "DOCKER-USER"}, answer},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetns(t)
			world(n).echoServer("192.0.2.2:80")
			table := &nftables.Table{Name: tt.table, Family: tt.family}
			forwarding := &nftables.Chain{Name: tt.chains[0], Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: new(nftables.ChainPolicyDrop)}
			rules := func() (count int) {
				if err := n.in(func() error {
					c, err := nftables.New()
					if err != nil {
						return err
					}
					rules, err := c.GetRules(table, forwarding)
					count = len(rules)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				return count
			}
			if err := n.in(func() error {
				c, err := nftables.New()
				if err != nil {
					return err
				}
				c.AddTable(table)
				c.AddChain(forwarding)
				for _, name := range tt.chains[1:] {
					c.AddChain(&nftables.Chain{Name: name, Table: table})
				}
				return c.Flush()
			}); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second finds what the first has done
				if got := n.minirun(client("192.0.2.2", "80")...); got != tt.want {
					t.Errorf("%q, want %q", got, tt.want)
				}
			}
			if got, want := rules(), 2*(len(tt.chains)-1); got != want {
				t.Errorf("%d rules, want %d", got, want)
			}
		})
	}
}

// So is one that iptables made before nftables, of which nftables knows nothing.
func TestBridgeLegacyFirewall(t *testing.T) {
	iptables := testenv.Program(t, "iptables-legacy") // dockerd's package needs it
	n := newNetns(t)
	for _, rule := range []string{"-A FORWARD -p tcp -m conntrack --ctstate NEW -j DROP", "-N other"} {
		n.run(iptables, strings.Fields(rule)...)
	}
	const want = "minirun: warning: the firewall's FORWARD policy is drop: the container cannot reach out\n" +
		"hint: sudo iptables-legacy -I FORWARD -i minirun0 -j ACCEPT && sudo iptables-legacy -I FORWARD -o minirun0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
	for _, tt := range []struct{ rule, want string }{{"-A FORWARD -j other", ""}, {"-P FORWARD DROP", want}, {"-A FORWARD -i minirun0 -j ACCEPT", ""}} {
		n.run(iptables, strings.Fields(tt.rule)...)
		if got := n.minirun("debian", "true"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

// A network that is in use is not the containers'.
func TestBridgeSubnet(t *testing.T) {
	n := newNetns(t)
	n.run("ip", "link", "add", "other", "type", "bridge")
	n.run("ip", "address", "add", "10.96.200.1/24", "dev", "other")
	n.run("ip", "link", "set", "other", "up")
	if got := n.minirun("--network", "bridge", "debian", "hostname", "-i"); !strings.Contains(got, "10.97.") {
		t.Errorf("%q", got)
	}
	// What the machine's administrator gives the bridge stays.
	n = newNetns(t)
	n.run("ip", "link", "add", "minirun0", "type", "bridge")
	n.run("ip", "address", "add", "198.51.100.1/29", "dev", "minirun0")
	if got := n.minirun("--network", "bridge", "--ip", "198.51.100.6", "debian", "hostname", "-i"); !strings.Contains(got, "198.51.100.6") {
		t.Errorf("%q", got)
	}
}

// Where the bridge has been given another network, the firewall translates the addresses of that and
// no longer those of the old one.
func TestBridgeOtherSubnet(t *testing.T) {
	n := newNetns(t)
	world(n).echoServer("192.0.2.2:80")
	ask := func(when string, rules int) {
		t.Helper()
		if got := n.minirun(client("192.0.2.2", "80")...); got != "FROM THE CONTAINER\n" {
			t.Errorf("%s: %q", when, got)
		}
		if err := n.in(func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			table := &nftables.Table{Name: "minirun", Family: nftables.TableFamilyINet}
			found, err := c.GetRules(table, &nftables.Chain{Name: "postrouting", Table: table})
			if len(found) != rules {
				t.Errorf("%s: %d rules, want %d", when, len(found), rules)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	ask("minirun's own networks", 2)
	for _, address := range []string{"198.51.100.1/29", "198.51.100.130/25"} {
		n.run("ip", "address", "flush", "dev", "minirun0")
		n.run("ip", "address", "add", address, "dev", "minirun0")
		ask(address, 1)
	}
	n.run("ip", "address", "add", "fd99::1/64", "dev", "minirun0", "nodad")
	ask("with fd99::1/64", 2)
}

// A machine that lets nobody make a bridge gets one error, and no other network instead.
func TestBridgeLacks(t *testing.T) {
	n := newNetns(t)
	for name, tt := range map[string]struct {
		before []string
		want   string
	}{
		"capability": {
			[]string{"setpriv", "--bounding-set=-net_admin"},
			"minirun: --network bridge: make a network namespace: bring its loopback device up: ioctl: operation not permitted\nhint: it needs CAP_NET_ADMIN; --network host does without\n",
		},
		"sysctls": {
			[]string{"unshare", "--mount", "sh", "-c", `mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"`, "sh"},
			"minirun: --network bridge: set net.ipv6.conf.minirun0.accept_dad to 0: open /proc/sys/net/ipv6/conf/minirun0/accept_dad: read-only file system\nhint: it needs a /proc/sys that can be written to; --network none does without\n",
		},
	} {
		args := append(tt.before[:len(tt.before):len(tt.before)], testBed.minirun, "--root", testBed.root, "debian", "echo", "ran")
		cmd := n.command(args[0], args[1:]...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 125 || string(out) != tt.want {
			t.Errorf("%s: status %d, %q, want %q", name, cmd.ProcessState.ExitCode(), out, tt.want)
		}
	}
}
