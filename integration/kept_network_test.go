package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
)

// keptNetwork makes launches in a network namespace of the test's. They name a name server: a
// machine may have one at its loopback device only, and launches that need that are not kept.
type keptNetwork struct {
	*netns
	runRoot string
}

// launch returns what a launch prints, and whether Go was started for it.
func (n *keptNetwork) launch(args ...string) (out string, inGo bool, err error) {
	cmd := n.command(testBed.minirun, args...)
	cmd.Env = append(os.Environ(), "MINIRUN_RUN_ROOT="+n.runRoot, "GODEBUG=inittrace=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("%w: %s", err, initLine.ReplaceAll(stderr.Bytes(), nil))
	}
	return stdout.String(), bytes.Contains(stderr.Bytes(), []byte("init ")), err
}

// keep makes launches until one is carried out as it was kept, and returns what the first and
// the last print.
func (n *keptNetwork) keep(args ...string) (first, last string) {
	n.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) { // a guest takes seconds for each
		out, inGo, err := n.launch(args...)
		if err != nil {
			n.t.Fatal(err)
		}
		if first == "" {
			first = out
		}
		if !inGo {
			return first, out
		}
		if time.Now().After(deadline) {
			n.t.Fatal("the launch is not kept")
		}
	}
}

func newKeptNetwork(t *testing.T) *keptNetwork {
	t.Helper()
	needsKept(t)
	n := &keptNetwork{newNetns(t), filepath.Join(t.TempDir(), "run")}
	outside := world(n.netns)
	outside.run("ip", "route", "add", "10.96.0.0/12", "via", "192.0.2.1") // to bridges that no rule translates the addresses of
	outside.echoServer("192.0.2.2:80")
	outside.echoServer("[fd00:2::2]:80")
	return n
}

// networkPicture prints what a container can know of its network, and asks who is outside.
// Some of it the kernel does a moment after the device is up: the link's state, and the
// route to the link's own address, which comes last.
const networkPicture = `
until grep -q up /sys/class/net/eth0/operstate && grep -Eq '^fe80[0-9a-f]{28} 80 .* eth0$' /proc/net/ipv6_route; do sleep 0.01; done
cd /proc/net; cat route; sed -E 's/ [0-9a-f]{8} [0-9a-f]{8}( [0-9a-f]{8} +[a-z])/\1/' ipv6_route; tail -n +3 dev | cut -d : -f 1; cat if_inet6 fib_trie arp | sort
cd /proc/sys/net; grep . ipv6/conf/*/accept_dad ipv6/conf/*/accept_ra ipv6/conf/*/forwarding ipv4/ip_forward
cd /sys/class/net; for f in address addr_assign_type mtu tx_queue_len flags operstate carrier ifindex; do grep . */$f; done
cat /etc/hosts /etc/resolv.conf /etc/hostname; exec perl -e '` + perlClient + `' 192.0.2.2 80 fd00:2::2 80`

var (
	bridgeAddress = regexp.MustCompile(`\b10\.96\.(0\.1\b|255\.255\b|0\.0\b)|\b10\.96\.\d+\.\d+\b`)
	bridgeHex     = regexp.MustCompile(`0a60[0-9a-f]{4}|a60:[0-9a-f]{1,4}|02:42:0a:60:[0-9a-f]{2}:[0-9a-f]{2}|fe8000000000000000420afffe60[0-9a-f]{4}`)
)

var fibIndent = regexp.MustCompile(`(?m)^ +`)

// ownAddress has a name for a container's address; the bridge's stay.
func ownAddress(text string) []string {
	text = bridgeAddress.ReplaceAllStringFunc(text, func(a string) string {
		if a == "10.96.0.1" || a == "10.96.255.255" || a == "10.96.0.0" {
			return a
		}
		return "OWN"
	})
	lines := strings.Split(fibIndent.ReplaceAllString(randomID.ReplaceAllString(bridgeHex.ReplaceAllString(text, "OWN"), "ID"), ""), "\n")
	// A trie that the address is in the middle of has another shape.
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "+--") || strings.Contains(line, "|--") })
	slices.Sort(lines)
	return lines
}

// A container that C has connected with the bridge is as one of Go's, and reaches the world.
func TestKeptBridge(t *testing.T) {
	n := newKeptNetwork(t)
	for _, flags := range [][]string{{"--dns", "192.0.2.8"}, {"-h", "box", "--domainname", "example.com", "--add-host", "host:host-gateway", "--dns", "192.0.2.9"}} {
		first, last := n.keep(append(flags, "debian", "sh", "-c", networkPicture)...)
		if diff := cmp.Diff(ownAddress(first), ownAddress(last)); diff != "" {
			t.Errorf("%v: Go -, kept +:\n%s", flags, diff)
		}
		if strings.Count(last, "FROM THE CONTAINER\n") != 2 {
			t.Errorf("%v: the world is not reached: %s", flags, last)
		}
		if first == last {
			t.Errorf("%v: two containers have the same address: %s", flags, last)
		}
	}
	eventually(t, "no device is left", func() bool { return !strings.Contains(n.run("ip", "-o", "link"), "mr0a") })
}

// What is changed on the host is seen: Go makes the launch, as if it were the first, and it
// is kept anew.
func TestKeptBridgeChanges(t *testing.T) {
	n := newKeptNetwork(t)
	args := []string{"--dns", "192.0.2.8", "debian", "sh", "-c", "cat /sys/class/net/eth0/mtu; exec perl -e '" + perlClient + "' 192.0.2.2 80"}
	n.keep(args...)
	rules := func(change func(c *nftables.Conn)) func() {
		return func() {
			if err := n.in(func() error {
				c, err := nftables.New()
				if err != nil {
					return err
				}
				change(c)
				return c.Flush()
			}); err != nil {
				n.t.Fatal(err)
			}
		}
	}
	shell := func(script string) func() { return func() { n.run("sh", "-c", script) } }
	for _, c := range []struct {
		name, mtu string
		change    func()
	}{
		{"the bridge has gone", "1500", shell("ip link delete minirun0")},
		{"the bridge is another", "1500", shell("ip link delete minirun0; ip link add minirun0 type bridge; ip address add 10.100.0.1/24 dev minirun0; ip link set minirun0 up")},
		{"the bridge is down", "1500", shell("ip link set minirun0 down")},
		{"its address", "1500", shell("ip address flush dev minirun0; ip address add 10.101.0.1/24 dev minirun0")},
		{"its IPv6 address", "1500", shell("ip address add fd99::1/64 dev minirun0")},
		{"the table has gone", "1500", rules(func(c *nftables.Conn) { c.DelTable(&nftables.Table{Name: "minirun", Family: nftables.TableFamilyINet}) })},
		{"all tables have gone", "1500", rules(func(c *nftables.Conn) { c.FlushRuleset() })},
		{"a new table", "1500", rules(func(c *nftables.Conn) { c.AddTable(&nftables.Table{Name: "other", Family: nftables.TableFamilyIPv4}) })},
		{"packets are not forwarded", "1500", shell("echo 0 > /proc/sys/net/ipv4/ip_forward")},
		{"the MTU of the world", "1400", shell("ip link set wan0 mtu 1400")},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.t = t
			c.change()
			out, inGo, err := n.launch(args...)
			if want := c.mtu + "\nFROM THE CONTAINER\n"; out != want || err != nil {
				t.Errorf("%q, %v", out, err)
			}
			if !inGo {
				t.Error("carried out as it was kept")
			}
			n.keep(args...)
		})
	}
}

// Launches at the same time get addresses of their own, also where there are few. Those for
// which there is none fail in Go, and nothing of them is left.
func TestKeptBridgeRace(t *testing.T) {
	n := newKeptNetwork(t)
	n.run("sh", "-c", "ip link add minirun0 type bridge; ip address add 10.100.0.1/29 dev minirun0; ip link set minirun0 up")
	args := []string{"-i", "--dns", "192.0.2.8", "debian", "sh", "-c", "grep -o ^10.100[.0-9]* /etc/hosts; cat"}
	n.keep(args...)
	const count, free = 8, 5
	type result struct {
		out, err string
		ended    error
	}
	results, printed, hold := make(chan result, count), make(chan string, count), make(chan struct{})
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			cmd := n.command(testBed.minirun, args...)
			cmd.Env = append(os.Environ(), "MINIRUN_RUN_ROOT="+n.runRoot)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, ended := holdOpen(cmd, printed, hold)
			results <- result{out, stderr.String(), ended}
		})
	}
	addresses := map[string]bool{}
	for range count {
		addresses[<-printed] = true
	}
	close(hold)
	all.Wait()
	failed := 0
	for range count {
		if r := <-results; r.ended != nil {
			failed++
			if !strings.Contains(r.err, "no free address is found in 10.100.0.0/29") {
				t.Errorf("%v: %s", r.ended, r.err)
			}
		}
	}
	delete(addresses, "")
	if len(addresses) != free || failed != count-free {
		t.Errorf("%d addresses of %d, %d failures: %v", len(addresses), free, failed, addresses)
	}
	if left, err := os.ReadDir(filepath.Join(testBed.root, "containers")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	eventually(t, "no device is left", func() bool { return !strings.Contains(n.run("ip", "-o", "link"), "mr0a") })
}

// holdOpen runs a command whose standard input ends with hold, and tells what it prints
// first, or "" if it ends before.
func holdOpen(cmd *exec.Cmd, printed chan<- string, hold <-chan struct{}) (out string, err error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		printed <- ""
		return "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		printed <- ""
		return "", err
	}
	buffer := make([]byte, 100)
	size, _ := stdout.Read(buffer)
	out = strings.TrimSpace(string(buffer[:size]))
	printed <- out
	<-hold
	_ = in.Close()
	return out, cmd.Wait()
}
