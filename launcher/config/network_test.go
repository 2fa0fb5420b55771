package config

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/minirun/minirun/internal/hint"
)

// The texts are parsed by Docker's own parser (go-connections). This checks what becomes of
// its results.
func TestPublish(t *testing.T) {
	tcp := func(n uint16) Port { return Port{n, "tcp"} }
	for text, want := range map[string][]Publication{
		"80":                             {{Port: tcp(80)}},
		":80":                            {{Port: tcp(80)}},
		"8080:80":                        {{First: 8080, Last: 8080, Port: tcp(80)}},
		"8080:80/udp":                    {{First: 8080, Last: 8080, Port: Port{80, "udp"}}},
		"8080:80/UDP":                    {{First: 8080, Last: 8080, Port: Port{80, "udp"}}},
		"127.0.0.1::80":                  {{Address: netip.MustParseAddr("127.0.0.1"), Port: tcp(80)}},
		"0.0.0.0:1:80":                   {{Address: netip.MustParseAddr("0.0.0.0"), First: 1, Last: 1, Port: tcp(80)}},
		"[::1]:8080:80":                  {{Address: netip.MustParseAddr("::1"), First: 8080, Last: 8080, Port: tcp(80)}},
		"::1:8080:80":                    {{Address: netip.MustParseAddr("::1"), First: 8080, Last: 8080, Port: tcp(80)}},
		"80-81:90-91":                    {{First: 80, Last: 80, Port: tcp(90)}, {First: 81, Last: 81, Port: tcp(91)}},
		"8000-8010:80":                   {{First: 8000, Last: 8010, Port: tcp(80)}},
		"90-91":                          {{Port: tcp(90)}, {Port: tcp(91)}},
		"target=80,published=8080":       {{First: 8080, Last: 8080, Port: tcp(80)}},
		"target=80,protocol=udp":         {{Port: Port{80, "udp"}}},
		"published=1,target=2,mode=host": {{First: 1, Last: 1, Port: tcp(2)}},
	} {
		c, err := Parse(Flags{"publish": {text}})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for i := range want {
			want[i].Flag = "--publish " + text
		}
		if diff := cmp.Diff(want, c.Published, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s: -want +got\n%s", text, diff)
		}
	}
}

func TestRefusedNetworkFlags(t *testing.T) {
	for flag, want := range map[string]string{
		"network=container:a/b":    "invalid container name",
		"ip=10.96.0.256":           "not an IPv4 address",
		"mac-address=x":            "not a MAC address of one device",
		"publish=":                 "no port specified: <empty>",
		"publish=80:":              "no port specified: 80:<empty>",
		"publish=a:80":             "invalid hostPort: a",
		"publish=80:a":             "invalid containerPort: a",
		"publish=65536:80":         "invalid hostPort: 65536",
		"publish=80:0":             "a container has no port 0",
		"publish=80:80/sctp":       `only tcp and udp are published, not "sctp"`,
		"publish=80:80/x":          "invalid proto: x",
		"publish=localhost:80:80":  "invalid IP address: localhost",
		"publish=1-2:1-3":          "invalid ranges specified for container and host Ports: 1-3 and 1-2",
		"publish=target=1,bogus=2": `no such field "bogus"`,
		"expose=1:2":               "not a port or a range of ports",
		"expose=3-1":               "not a port or a range of ports",
		"expose=":                  "not a port or a range of ports",
		"dns=host":                 "not an IP address",
		"dns-search=a_b":           "not a domain",
		"dns-search=1.2":           "not a domain",
		"dns-search=a..b":          "not a domain",
		"dns-option=a\nb":          "not an option",
		"add-host=a":               "not a name and an address",
		"add-host=:1.2.3.4":        "not a name and an address",
		"add-host=a b:1.2.3.4":     "not a name and an address",
		"add-host=a:b":             `"b" is not an IP address`,
	} {
		name, value, _ := strings.Cut(flag, "=")
		_, err := Parse(Flags{name: {value}})
		if err == nil || err.Error() != "--"+name+" "+value+": "+want {
			t.Errorf("%s: %v", flag, err)
		}
	}
	refused(t, Flags{"network": {"none"}, "ip": {"10.96.0.2"}}, "--ip 10.96.0.2: with --network none the container has no such device")
}

func TestNames(t *testing.T) {
	c, err := Parse(Flags{
		"dns": {"192.0.2.1", "::1"}, "dns-search": {"example.com", "."}, "dns-option": {"ndots:2"},
		"add-host": {"a:192.0.2.1", "b:::1", "c=[::1]", "d:host-gateway"}, "expose": {"80", "53-54/udp"},
	})
	if err != nil {
		t.Fatal(err)
	}
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::1")
	want := Names{[]netip.Addr{v4, v6}, []string{"example.com", "."}, []string{"ndots:2"}, []HostEntry{{"a", v4}, {"b", v6}, {"c", v6}, {Name: "d"}}}
	if !reflect.DeepEqual(c.Names, want) {
		t.Errorf("%+v, want %+v", c.Names, want)
	}
	if exposed := []Port{{80, "tcp"}, {53, "udp"}, {54, "udp"}}; !reflect.DeepEqual(c.Exposed, exposed) {
		t.Errorf("%v, want %v", c.Exposed, exposed)
	}
}

// A container that shares a network cannot change what belongs to it.
func TestSharedNetwork(t *testing.T) {
	c, err := Parse(Flags{"network": {"container:box"}, "publish-all": {"false"}})
	if err != nil || c.Network.Container() != "box" || !c.Network.Own() {
		t.Errorf("%v, %v", c, err)
	}
	for flag, value := range map[string]string{"publish": "80", "publish-all": "true", "hostname": "h", "dns": "192.0.2.1", "add-host": "a:192.0.2.1", "ip": "10.96.0.2"} {
		_, err := Parse(Flags{"network": {"container:box"}, flag: {value}})
		if want := "--network container:box: --" + flag + " is the other container's"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err = Parse(Flags{"network": {"container:box"}, "userns": {"auto"}})
	if want := "--network container:box: with --userns auto a container has a network of its own"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err = Parse(Flags{"network": {"container:box"}, "userns": {"host"}}); err != nil {
		t.Error(err)
	}
}

func TestNetworkUnknown(t *testing.T) {
	_, err := Parse(Flags{"network": {"bogus"}})
	if got, want := hint.Text(err), "use none, host, bridge, slirp4netns, pasta or container:NAME"; got != want {
		t.Errorf("%v: the hint is %q, want %q", err, got, want)
	}
}
