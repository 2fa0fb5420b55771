package launcher

/*
#include "kept.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/network"
)

// takeBridge returns in what state the bridge and the firewall are. Without an index there is
// no bridge.
func takeBridge() (b C.struct_kept_bridge) {
	if C.kept_bridge_take(&b) != 0 {
		return C.struct_kept_bridge{}
	}
	return b
}

// beginNetwork is called before a network is made. What is made with one state of the bridge
// can be made again as long as that is the same. A nil Keep does nothing.
func (k *Keep) beginNetwork(n *network.Network) {
	if k != nil && n.Kind == config.NetworkBridge {
		k.bridge = takeBridge()
	}
}

// network are the bridge that a container is on, and what goes with its address.
func (w *keptWriter) network(s *keptList) {
	d := w.l.network.Device()
	if !d.Address.IsValid() {
		return
	}
	b := takeBridge()
	if b.index == 0 || b != w.k.bridge {
		w.fail("the bridge or the firewall has changed")
	}
	if w.l.network.Guessed() {
		w.fail("no name server is named")
	}
	v4, v6 := addressOf(b.v4[:]), addressOf(b.v6[:])
	if d.Gateway != v4 || d.PrefixLen != int(b.v4_bits) || d.PrefixLen6 != int(b.v6_bits) || d.PrefixLen6 > 0 && d.Gateway6 != v6 {
		w.fail("the bridge has several addresses")
	}
	w.head.bridge = b
	fmt.Fprintf(&w.shown, "bridge %s\n", netip.PrefixFrom(v4, d.PrefixLen))
	if lines := w.l.hostLines; lines != "" {
		lines = w.replace(w.referring(lines), d.Address.String()+"\t", "\x01a\t")
		if d.Address6.IsValid() {
			lines = w.replace(lines, d.Address6.String()+"\t", "\x01b\t")
		}
		s.add(C.KEPT_APPEND, 0, w.l.hostsFile, "").source = w.raw(lines)
	}
}

func addressOf(raw []C.uint8_t) netip.Addr {
	bytes := make([]byte, len(raw))
	for i, b := range raw {
		bytes[i] = byte(b)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

// parameters are what openBridge and legacyDrops of launcher/network look at.
func (w *keptWriter) parameters(s *keptList) {
	d := w.l.network.Device()
	if !d.Address.IsValid() {
		return
	}
	s.add(C.KEPT_EXPECT, 0, "/proc/sys/net/ipv4/ip_forward", "1\n")
	if d.Address6.IsValid() {
		s.add(C.KEPT_EXPECT, 0, "/proc/sys/net/ipv6/conf/all/forwarding", "1\n")
	}
	const legacy = "/proc/thread-self/net/ip_tables_names"
	tables, err := os.ReadFile(legacy)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || slices.Contains(strings.Fields(string(tables)), "filter") {
		w.fail("iptables-legacy(8) has rules")
	}
	s.add(C.KEPT_EXPECT, 1, legacy, string(tables))
}

// deviceText has references for a device in what others may know of the launch.
func (w *keptWriter) deviceText(text string) string {
	d := w.l.network.Device()
	if !d.Address.IsValid() {
		return text
	}
	for _, v := range [][3]string{{"address", d.Address.String(), "\x01a"}, {"address6", d.Address6.String(), "\x01b"}, {"mac", d.MAC, "\x01m"}} {
		if v[0] != "address6" || d.Address6.IsValid() {
			text = w.replace(text, fmt.Sprintf(`"%s":"%s"`, v[0], v[1]), fmt.Sprintf(`"%s":"%s"`, v[0], v[2]))
		}
	}
	return text
}
