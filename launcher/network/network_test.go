package network

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/internal/thread"
	"github.com/minirun/minirun/launcher/config"
)

func TestOf(t *testing.T) {
	own := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}}
	for name, test := range map[string]struct {
		spec specs.Spec
		want config.Network
	}{
		"none":        {specs.Spec{Linux: &specs.Linux{Namespaces: own}}, config.NetworkNone},
		"host":        {specs.Spec{Linux: &specs.Linux{Namespaces: own[:1]}}, config.NetworkHost},
		"not Linux's": {specs.Spec{}, config.NetworkHost},
	} {
		if got := Of(&test.spec); got.Kind != test.want {
			t.Errorf("%s: %s", name, got.Kind)
		}
	}
}

// --publish-all publishes what no --publish names, and the host's network nothing.
func TestPublished(t *testing.T) {
	web, dns := config.Port{Number: 80, Protocol: "tcp"}, config.Port{Number: 53, Protocol: "udp"}
	own := config.Publication{Flag: "--publish 8080:80", First: 8080, Last: 8080, Port: web}
	c := &config.Config{Network: config.NetworkNone, Published: []config.Publication{own}, Exposed: []config.Port{web, dns, dns}}
	if got := New(c).Published; !reflect.DeepEqual(got, c.Published) {
		t.Errorf("without --publish-all: %v", got)
	}
	c.PublishAll = true
	if got, want := New(c).Published, []config.Publication{own, {Flag: "--publish-all", Port: dns}}; !reflect.DeepEqual(got, want) {
		t.Errorf("with --publish-all: %v", got)
	}
	c.Network = config.NetworkHost
	if got := New(c).Published; got != nil {
		t.Errorf("with --network host: %v", got)
	}
}

// Only the host's network has the host's names.
func TestFiles(t *testing.T) {
	own, err := os.ReadFile("/etc/hosts")
	if err != nil {
		own = []byte(loopback)
	}
	names := config.Names{Hosts: []config.HostEntry{{Name: "a", Address: netip.MustParseAddr("192.0.2.1")}}}
	for kind, start := range map[config.Network]string{config.NetworkHost: string(own), config.NetworkNone: loopback} {
		c, err := (&Network{Kind: kind, Names: names}).Open(nil)
		if err != nil {
			t.Fatal(err)
		}
		if hosts, _ := c.Files(); string(hosts) != start {
			t.Errorf("%s: %q", kind, hosts)
		}
		if lines, warnings, err := c.Attach("h", "d"); lines != "192.0.2.1\ta\n" || warnings != nil || err != nil || c.Namespace() != nil {
			t.Errorf("%s: %q, %v, %v, %v", kind, lines, warnings, err, c.Namespace())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHostGateway(t *testing.T) {
	names := config.Names{Hosts: []config.HostEntry{{Name: "host"}}}
	if _, err := (&Network{Kind: config.NetworkNone, Names: names}).Open(nil); err == nil ||
		err.Error() != "--add-host host:host-gateway: with --network none the container does not reach the host" {
		t.Errorf("none: %v", err)
	}
	lines, err := (&Network{Names: names}).hostLines(netip.MustParseAddr("192.0.2.1"))
	if err != nil || lines != "192.0.2.1\thost\n" {
		t.Errorf("%q, %v", lines, err)
	}
}

func TestResolvConf(t *testing.T) {
	const text = "# c\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver x\ndomain a\nsearch b c\noptions ndots:1\noptions rotate\nsortlist 1\nnameserver\n"
	servers := []netip.Addr{netip.MustParseAddr("203.0.113.1")}
	for name, test := range map[string]struct {
		names config.Names
		want  string
	}{
		"host's":  {config.Names{}, "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch b c\noptions ndots:1 rotate\n"},
		"server":  {config.Names{Servers: servers}, "nameserver 203.0.113.1\nsearch b c\noptions ndots:1 rotate\n"},
		"search":  {config.Names{Search: []string{"d"}}, "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch d\noptions ndots:1 rotate\n"},
		"none":    {config.Names{Search: []string{"."}}, "nameserver 192.0.2.1\nnameserver fe80::1%eth0\noptions ndots:1 rotate\n"},
		"options": {config.Names{Options: []string{"ndots:5"}}, "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch b c\noptions ndots:5\n"},
	} {
		if got := parseResolvConf(text).withFlags(test.names).String(); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// A container that is connected gets the servers that it reaches; where there are none,
// they are asked for it.
func TestServers(t *testing.T) {
	const resolved = "nameserver 192.0.2.1\nsearch a.example\n"
	addresses := func(texts ...string) (all []netip.Addr) {
		for _, text := range texts {
			all = append(all, netip.MustParseAddr(text))
		}
		return all
	}
	flag := config.Names{Servers: addresses("203.0.113.1")}
	for name, tt := range map[string]struct {
		kind           config.Network
		names          config.Names
		host, resolved string
		want           string
		relayed        []netip.Addr
	}{
		"none":           {config.NetworkNone, config.Names{}, "# c\nnameserver 127.0.0.53\n", "", "# c\nnameserver 127.0.0.53\n", nil},
		"host":           {config.NetworkHost, config.Names{}, "nameserver 127.0.0.1\n", "", "nameserver 127.0.0.1\n", nil},
		"reached":        {config.NetworkBridge, config.Names{}, "# c\nnameserver 192.0.2.1\n", "", "# c\nnameserver 192.0.2.1\n", nil},
		"some reached":   {config.NetworkBridge, config.Names{}, "nameserver ::1\nnameserver fe80::1%eth0\nnameserver 192.0.2.1\nsearch b\n", "", "nameserver 192.0.2.1\nsearch b\n", nil},
		"resolved":       {config.NetworkPasta, config.Names{}, "nameserver 127.0.0.53\n", resolved, resolved, nil},
		"resolved alone": {config.NetworkSlirp, config.Names{}, "nameserver 127.0.0.53\nsearch b\n", "nameserver 127.0.0.1\n", "nameserver 127.0.0.11\nsearch b\n", addresses("127.0.0.53")},
		"loopback":       {config.NetworkBridge, config.Names{}, "nameserver 127.0.0.1\nnameserver ::1\n", resolved, "nameserver 127.0.0.11\n", addresses("127.0.0.1", "::1")},
		"nothing":        {config.NetworkBridge, config.Names{}, "", "", "nameserver 127.0.0.11\n", addresses("127.0.0.1")},
		"nothing at all": {config.NetworkBridge, config.Names{}, "search b\n", "", "search b\n", nil},
		"flag":           {config.NetworkBridge, flag, "nameserver 127.0.0.1\nsearch b\n", "", "nameserver 203.0.113.1\nsearch b\n", nil},
		"flag and none":  {config.NetworkNone, flag, "nameserver 127.0.0.1\n", "", "nameserver 203.0.113.1\n", nil},
	} {
		got, relayed := (&Network{Kind: tt.kind, Names: tt.names}).resolvOf([]byte(tt.host), []byte(tt.resolved), func() bool { return name != "nothing at all" })
		if string(got) != tt.want || !reflect.DeepEqual(relayed, tt.relayed) {
			t.Errorf("%s: %q, %v", name, got, relayed)
		}
	}
}

// FuzzResolvConf: whatever a resolv.conf has in it, what is made of it reads the same.
func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nsearch a b\noptions c")
	f.Fuzz(func(t *testing.T, text string) {
		c := parseResolvConf(text)
		if again := parseResolvConf(c.String()); !reflect.DeepEqual(c, again) {
			t.Errorf("%q: %v, %v", text, c, again)
		}
	})
}

// FuzzAnswers: only an answer to the question is passed on.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("ab0000000000"), []byte("ab\x800000000000"))
	f.Fuzz(func(t *testing.T, question, message []byte) {
		if answers(question, message) && (len(message) < dnsHeader || string(message[:2]) != string(question[:2]) || message[2] < 0x80) {
			t.Errorf("%x, %x", question, message)
		}
	})
}

// A list that the kernel interrupted is asked for again, but not for ever.
func TestWhole(t *testing.T) {
	for interrupted, want := range map[int]int{0: 1, 3: 4, 1000: 100} {
		asked := 0
		_, err := whole(func() ([]int, error) {
			if asked++; asked <= interrupted {
				return nil, netlink.ErrDumpInterrupted
			}
			return []int{1}, nil
		})
		if asked != want || (err == nil) != (want > interrupted) {
			t.Errorf("interrupted %d times: asked %d times, %v", interrupted, asked, err)
		}
	}
}

// Launchers that set the bridge up at the same time choose the same subnet.
func TestFreeSubnet(t *testing.T) {
	testenv.Root(t)
	if err := thread.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		b, err := openBridge()
		if err != nil {
			return err
		}
		defer b.close()
		if again, err := b.freeSubnet(); err != nil || again != b.v4 {
			t.Errorf("%v, %v; the bridge has %v", again, err, b.v4)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A user may have given the bridge its address. A container needs one beside it.
func TestSmallSubnet(t *testing.T) {
	testenv.Root(t)
	for text, fits := range map[string]bool{"192.168.200.1/32": false, "192.168.200.1/31": false, "192.168.200.1/30": true} {
		if err := thread.Do(func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
			if err := errors.Join(netlink.LinkAdd(link), netlink.AddrAdd(link, address(netip.MustParsePrefix(text)))); err != nil {
				return err
			}
			b, err := openBridge()
			if err != nil {
				if fits || hint.Text(err) == "" {
					t.Errorf("%s: %v", text, err)
				}
				return nil
			}
			defer b.close()
			if !fits {
				t.Errorf("%s: no error", text)
			} else if got, want := b.anyAddress(), netip.MustParseAddr("192.168.200.2"); got != want {
				t.Errorf("%s: a container gets %s, want %s", text, got, want)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}
