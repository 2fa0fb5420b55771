package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// bridgeName is the bridge of all containers in this network namespace. It, its
// addresses, the rules of the firewall and the forwarding of packets stay until the
// machine is rebooted.
const bridgeName = "minirun0"

// bridge is the bridge as the kernel has it.
type bridge struct {
	host   *netlink.Handle // one netlink socket, for all requests
	link   netlink.Link
	v4, v6 netip.Prefix // its own addresses, with the networks' lengths; v6 may be the zero Prefix
	mtu    int          // of the route to the world
}

// openBridge returns the bridge, and creates it if it does not exist. Several launchers may
// do so at a time: it does not matter which of them does a step. The caller closes it.
func openBridge() (*bridge, error) {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	b := &bridge{host: host}
	if err := b.open(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bridge) close() { b.host.Close() }

func (b *bridge) open() error {
	b.mtu = b.mtuOfTheWorld()
	link, err := b.host.LinkByName(bridgeName)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		if err := b.host.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, HardwareAddr: hardwareAddress()}}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make the bridge %s: %w", bridgeName, err)
		}
		link, err = b.host.LinkByName(bridgeName)
	}
	if err != nil {
		return fmt.Errorf("the bridge %s: %w", bridgeName, err)
	}
	b.link = link
	if link.Type() != "bridge" {
		return hint.New("the device "+bridgeName+" is no bridge", "remove it: sudo ip link delete "+bridgeName)
	}
	if err := b.readAddresses(); err != nil {
		return err
	}
	if err := b.checkSize(); err != nil {
		return err
	}
	if link.Attrs().Flags&net.FlagUp == 0 || !b.v4.IsValid() {
		if err := b.setUp(); err != nil {
			return err
		}
	}
	return forwardPackets(b.v6.IsValid())
}

func (b *bridge) readAddresses() error {
	addresses, err := whole(func() ([]netlink.Addr, error) { return b.host.AddrList(b.link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", bridgeName, err)
	}
	for _, a := range addresses {
		address, _ := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		switch prefix := netip.PrefixFrom(address.Unmap(), bits); {
		case prefix.Addr().Is4() && !b.v4.IsValid():
			b.v4 = prefix
		case prefix.Addr().Is6() && prefix.Addr().IsPrivate() && !b.v6.IsValid():
			b.v6 = prefix
		}
	}
	return nil
}

// checkSize returns an error if the bridge's network has no address for a container: it is
// the one that a user has given the bridge.
func (b *bridge) checkSize() error {
	if b.v4.Bits() <= 30 { // one for the network, the bridge, a container and broadcasts
		return nil
	}
	return hint.New(fmt.Sprintf("the bridge %s has the address %s, in whose network there is none for a container", bridgeName, b.v4),
		"give it a larger network: ip address replace 192.168.200.1/24 dev "+bridgeName)
}

// whole returns a complete list from the kernel. It asks again if the list has changed
// meanwhile (NLM_F_DUMP_INTR), as lists do when containers start and end.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range 100 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// setUp gives the bridge its addresses.
func (b *bridge) setUp() (err error) {
	if !b.v4.IsValid() {
		if b.v4, err = b.freeSubnet(); err != nil {
			return err
		}
	}
	addresses := []netip.Prefix{b.v4}
	if hasIPv6() {
		if err := atOnce(bridgeName); err != nil {
			return err
		}
		b.v6 = uniqueLocal()
		addresses = append(addresses, b.v6)
	}
	for _, a := range addresses {
		if err := b.host.AddrAdd(b.link, address(a)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("give %s the address %s: %w", bridgeName, a, err)
		}
	}
	if err := b.host.LinkSetUp(b.link); err != nil {
		return fmt.Errorf("bring %s up: %w", bridgeName, err)
	}
	return nil
}

// atOnce lets a device use its link-local IPv6 address at once, without waiting a second
// for another device with the same address (kernel, ip-sysctl.rst, accept_dad): there is
// none.
func atOnce(device string) error { return setSysctl("ipv6/conf/"+device+"/accept_dad", "0") }

// address returns an address that can be used at once (IFA_F_NODAD).
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// freeSubnet returns the first of 10.96.0.1/16 to 10.111.0.1/16 for which this machine has
// no route. Routes to the bridge do not count: they are of another launcher that sets the
// bridge up at the same time, and both must choose the same subnet.
func (b *bridge) freeSubnet() (netip.Prefix, error) {
	routes, err := whole(func() ([]netlink.Route, error) { return b.host.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("list the routes: %w", err)
	}
	for n := byte(96); n < 112; n++ {
		subnet, taken := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, n, 0, 1}), 16), false
		for _, r := range routes {
			if r.Dst == nil || r.LinkIndex == b.link.Attrs().Index {
				continue
			}
			to, ok := netip.AddrFromSlice(r.Dst.IP)
			bits, _ := r.Dst.Mask.Size()
			taken = taken || ok && bits > 0 && subnet.Overlaps(netip.PrefixFrom(to.Unmap(), bits))
		}
		if !taken {
			return subnet, nil
		}
	}
	return netip.Prefix{}, hint.New("this machine has routes to all of 10.96.0.0/12", "give "+bridgeName+" an address: ip link add "+bridgeName+
		" type bridge; ip address add 192.168.200.1/24 dev "+bridgeName)
}

// unique returns bytes that are the same until this machine is rebooted, and that differ
// from those of other machines.
func unique() [sha256.Size]byte {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return sha256.Sum256(append([]byte(bridgeName), id...))
}

// hardwareAddress returns the hardware address of the bridge. Without one of its own the
// bridge would have that of a port, and another one when that container ends.
func hardwareAddress() net.HardwareAddr {
	hash := unique()
	return net.HardwareAddr{2, 0x42, hash[5], hash[6], hash[7], hash[8]}
}

// uniqueLocal returns this machine's address in a network of its own (RFC 4193).
func uniqueLocal() netip.Prefix {
	hash := unique()
	address := [16]byte{0: 0xfd, 15: 1}
	copy(address[1:6], hash[:])
	return netip.PrefixFrom(netip.AddrFrom16(address), 64)
}

// mtuOfTheWorld returns the MTU of the device of the default route, or 1500.
func (b *bridge) mtuOfTheWorld() int {
	const ethernet = 1500
	routes, err := b.host.RouteGet(net.IPv4(203, 0, 113, 1)) // nobody's (RFC 5737)
	if err != nil || len(routes) == 0 {
		return ethernet
	}
	link, err := b.host.LinkByIndex(routes[0].LinkIndex)
	if err != nil || link.Attrs().Flags&net.FlagLoopback != 0 {
		return ethernet
	}
	return link.Attrs().MTU
}

const sysNet = "/proc/sys/net/"

func hasIPv6() bool { return readSysctl("ipv6/conf/all/disable_ipv6") == "0" }

// readSysctl returns a parameter of the calling thread's network namespace, or "".
func readSysctl(name string) string {
	data, _ := os.ReadFile(sysNet + name)
	return strings.TrimSpace(string(data))
}

func setSysctl(name, value string) error {
	if readSysctl(name) == value {
		return nil
	}
	if err := os.WriteFile(sysNet+name, []byte(value), 0); err != nil {
		return fmt.Errorf("set net.%s to %s: %w", strings.ReplaceAll(name, "/", "."), value, err)
	}
	return nil
}

// forwardPackets makes this machine forward packets between its devices.
func forwardPackets(v6 bool) error {
	if err := setSysctl("ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if !v6 || readSysctl("ipv6/conf/all/forwarding") == "1" {
		return nil
	}
	if err := keepAdvertisements(); err != nil {
		return err
	}
	return setSysctl("ipv6/conf/all/forwarding", "1")
}

// keepAdvertisements sets accept_ra=2 for devices that accept router advertisements. With
// accept_ra=1 a device that forwards would ignore them (kernel, ip-sysctl.rst), and this
// machine would lose addresses and its default route.
func keepAdvertisements() error {
	devices, err := os.ReadDir(sysNet + "ipv6/conf")
	if err != nil {
		return err
	}
	for _, d := range devices {
		if name := "ipv6/conf/" + d.Name() + "/accept_ra"; d.Name() != "all" && d.Name() != bridgeName && readSysctl(name) == "1" {
			if err := setSysctl(name, "2"); err != nil && !errors.Is(err, fs.ErrNotExist) { // it has gone
				return err
			}
		}
	}
	return nil
}
