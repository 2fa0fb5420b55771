package integration

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers at an address in a namespace, by UDP and TCP: every name has the
// address 203.0.113.7, and that of long.example takes a connection to find out.
func (n *netns) nameServer(address string) {
	n.t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	if err := n.in(func() (err error) {
		if udp, err = net.ListenPacket("udp", address); err != nil {
			return err
		}
		tcp, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _, _ = udp.Close(), tcp.Close() })
	go func() {
		data := make([]byte, 4096)
		for {
			size, from, err := udp.ReadFrom(data)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(dnsAnswer(data[:size], false), from)
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			_, _ = io.ReadFull(conn, size[:])
			data := make([]byte, binary.BigEndian.Uint16(size[:]))
			_, _ = io.ReadFull(conn, data)
			answer := dnsAnswer(data, true)
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			_ = conn.Close()
		}
	}()
}

func dnsAnswer(question []byte, connected bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	switch {
	case q.Name.String() == "long.example." && !connected:
		m.Truncated = true
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: &dnsmessage.AResource{A: [4]byte{203, 0, 113, 7}},
		}}
	}
	answer, _ := m.Pack()
	return answer
}

// Where this machine's name server is at its loopback device, minirun asks it for the
// containers that do not reach it.
func TestNameRelay(t *testing.T) {
	n := newNetns(t)
	world(n)
	n.nameServer("127.0.0.53:53")
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.53\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	minirun := func(args ...string) string {
		t.Helper()
		return n.run("unshare", append([]string{
			"--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, conf,
			testBed.minirun, "--root", testBed.root, "--run-root", filepath.Join(t.TempDir(), "run"),
		}, args...)...)
	}
	const ask = `cat /etc/resolv.conf; for name in short.example long.example; do getent ahostsv4 $name | grep STREAM; done`
	for _, kind := range []string{"bridge", "slirp4netns"} {
		got := minirun("--network", kind, "debian", "sh", "-c", ask)
		if lines := strings.Fields(got); strings.Join(lines, " ") != "nameserver 127.0.0.11 203.0.113.7 STREAM short.example 203.0.113.7 STREAM long.example" {
			t.Errorf("%s: %q", kind, got)
		}
	}
	if got := minirun("--network", "bridge", "--dns", "203.0.113.53", "debian", "cat", "/etc/resolv.conf"); got != "nameserver 203.0.113.53\n" {
		t.Errorf("--dns: %q", got)
	}
	// Nobody listens where the container has no network.
	if got := minirun("--network", "none", "debian", "sh", "-c", "cat /etc/resolv.conf; tail -n +2 /proc/net/udp /proc/net/tcp | grep :0035"+"; true"); got != "nameserver 127.0.0.53\n" {
		t.Errorf("none: %q", got)
	}
}
